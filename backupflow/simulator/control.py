"""Steering a running fleet from outside: one JSON line in, one JSON line back."""

from __future__ import annotations

import dataclasses
import json
import socketserver
import threading
from typing import TYPE_CHECKING, Any

from backupflow.errors import BackupflowError, InputInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.simulator.fleet import Fleet
    from backupflow.simulator.handle import SimulatedRouter


def obey(fleet: Fleet, text: str) -> str:
    """Do what one line says; an error is an answer too: `{"ok": false, "error": …}`.

    `{"router": R, "do": D}` with D one of `edit` (`kind`, `by`), `change_key`, `add_key` and `drop_key`
    (`key_type`), `text` (`revision`, `sensitive`),
    `history`, `stats`; `{"router": R, "behave": {…}}`. `stats` and `behave` go without a router too: for all of them.
    `{"jump": J, "do": D}` with D one of `stop`, `resume`, `kill`, `change_key`, `stats`; `{"jump": J, "behave": {…}}`.
    """
    try:
        wanted = json.loads(text)
        if not isinstance(wanted, dict):
            msg = "a command is a JSON object"
            raise InputInvalid(msg)
        return json.dumps({"ok": True, **_done(fleet, wanted)})
    except (BackupflowError, ValueError, TypeError, KeyError) as exc:
        return json.dumps({"ok": False, "error": f"{type(exc).__name__}: {exc}"})


def _done(fleet: Fleet, wanted: dict[str, Any]) -> dict[str, Any]:
    if "jump" in wanted:
        return _done_by_jump_host(fleet, wanted)
    name = wanted.get("router")
    verb = "behave" if "behave" in wanted else wanted.get("do")
    if verb == "stats":
        return fleet.stats() if name is None else dataclasses.asdict(fleet[name].stats)
    if verb == "behave":
        for router in fleet.values() if name is None else (fleet[name],):
            router.behave(**wanted["behave"])
        return {}
    if name is None:
        msg = "which router?"
        raise InputInvalid(msg)
    return _done_by(fleet[name], str(verb), wanted)


def _done_by_jump_host(fleet: Fleet, wanted: dict[str, Any]) -> dict[str, Any]:
    jump_host = fleet.jump_hosts[wanted["jump"]]
    if "behave" in wanted:
        jump_host.behave(**wanted["behave"])
        return {}
    match wanted.get("do"):
        case "stop":
            jump_host.stop()
        case "resume":
            jump_host.resume()
        case "kill":
            jump_host.kill()
        case "change_key":
            return {"fingerprint": jump_host.change_key()}
        case "stats":
            return dataclasses.asdict(jump_host.stats)
        case verb:
            raise InputInvalid(f"a jump host cannot {verb!r}")
    return {}


def _done_by(router: SimulatedRouter, verb: str, wanted: dict[str, Any]) -> dict[str, Any]:
    match verb:
        case "edit":
            return dataclasses.asdict(router.edit(wanted.get("kind"), str(wanted.get("by", "admin"))))
        case "change_key":
            return {"fingerprint": router.change_key(wanted.get("key_type")), "host_key_type": router.host_key_type}
        case "add_key":
            return {"fingerprint": router.add_key(wanted["key_type"])}
        case "drop_key":
            router.drop_key(wanted["key_type"])
            return {}
        case "text":
            text = router.text(wanted.get("revision"), sensitive=wanted.get("sensitive", True))
            return {"text": text.decode("ascii")}
        case "history":
            return {"events": [json.loads(event.as_json()) for event in router.history]}
        case _:
            msg = f"cannot {verb!r}"
            raise InputInvalid(msg)


class ControlSocket:
    """A unix socket (0600) that takes any number of clients at a time; the path must be free and below 100 bytes."""

    def __init__(self, fleet: Fleet, path: Path) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for row in self.rfile:
                    self.wfile.write(obey(fleet, row.decode("utf-8", "replace")).encode("utf-8") + b"\n")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._path = path
        self._server = Server(str(path), Handler, bind_and_activate=False)
        self._server.server_bind()
        path.chmod(0o600)
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, name="simulator-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more commands and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._path.unlink(missing_ok=True)
