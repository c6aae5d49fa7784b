"""`python -m backupflow.simulator`: a fleet as a process of its own, until SIGTERM or the end of its standard input."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.errors import BackupflowError
from backupflow.simulator.control import ControlSocket, obey
from backupflow.simulator.drawing import serial
from backupflow.simulator.fleet import Fleet
from backupflow.simulator.jump_spec import JumpSpec
from backupflow.simulator.roster import read_roster
from backupflow.simulator.spec import Login, RouterSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupflow.simulator.handle import SimulatedRouter
    from backupflow.simulator.jump_handle import SimulatedJumpHost


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to end; 0, or 78 if what was given cannot be used."""
    options = _options(arguments)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    try:
        specs = read_roster(options.routers) if options.routers else _generated(options)
        with Fleet(specs, options.log, _jump_hosts(options)) as fleet:
            control = ControlSocket(fleet, options.control) if options.control else None
            if options.announce_jump_hosts:
                _announce(options.announce_jump_hosts, map(_told_of_jump_host, fleet.jump_hosts.values()))
            if options.announce:
                _announce(options.announce, map(_told, fleet.values()))
            if not options.ignore_stdin:
                threading.Thread(target=_listen, args=(fleet, ended), daemon=True).start()
            ended.wait()
            if control:
                control.close()
    except (BackupflowError, OSError) as exc:
        sys.stderr.write(f"simulator: {exc}\n")
        return 78
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m backupflow.simulator", description=__doc__)
    parser.add_argument("--count", type=int, default=25, help="how many routers (default: 25)")
    parser.add_argument("--seed", type=int, default=1, help="decides keys and configurations (default: 1)")
    parser.add_argument("--size", type=int, default=6_000, help="bytes of each configuration, roughly (default: 6000)")
    parser.add_argument("--versions", default="7.14,6.49.7,7.9.2,7.19.4", help="RouterOS versions, taken in turn")
    parser.add_argument(
        "--markers", action="store_true", help="plant a secret in each configuration, told in the announcement"
    )
    parser.add_argument("--routers", type=Path, help="JSON lines as announced, in place of generated routers")
    parser.add_argument("--announce", type=Path, help="file (0600) to write one JSON line per router to, when ready")
    parser.add_argument(
        "--jump-hosts", type=int, default=0, metavar="N", help="how many jump hosts; all reach all routers"
    )
    parser.add_argument(
        "--announce-jump-hosts", type=Path, metavar="FILE", help="the same for jump hosts, before the routers' file"
    )
    parser.add_argument("--log", type=Path, help="file to append the true history to, as JSON lines")
    parser.add_argument("--control", type=Path, help="unix socket that takes commands as JSON lines")
    parser.add_argument("--ignore-stdin", action="store_true", help="do not end with the standard input")
    return parser.parse_args(arguments)


def _generated(options: argparse.Namespace) -> Iterable[RouterSpec]:
    versions = options.versions.split(",")
    for number in range(1, options.count + 1):
        yield RouterSpec(
            f"r{number:03}",
            seed=options.seed,
            version=versions[(number - 1) % len(versions)],
            logins=(Login("backup", secrets.token_urlsafe(12)),),
            size=options.size,
            marker=secrets.token_hex(12) if options.markers else None,
        )


def _jump_hosts(options: argparse.Namespace) -> Iterable[JumpSpec]:
    for number in range(1, options.jump_hosts + 1):
        logins = (Login("jump", secrets.token_urlsafe(12)),)
        yield JumpSpec(f"j{number}", seed=options.seed, logins=logins)


def _told(router: SimulatedRouter) -> dict[str, object]:
    spec = router.spec
    login = spec.logins[0]
    known = {"username": login.username, "password": login.password, "fingerprint": router.fingerprint}
    place = {"name": spec.name, "host": router.host, "port": router.port, "host_key_type": router.host_key_type}
    what = {"version": spec.version, "model": spec.model, "serial": serial(spec), "legacy": spec.legacy}
    more = {"seed": spec.seed, "size": spec.size, "identity": spec.identity or spec.name, "marker": spec.marker}
    return {**place, **known, **what, **more}


def _told_of_jump_host(jump_host: SimulatedJumpHost) -> dict[str, object]:
    login = jump_host.spec.logins[0]
    known = {"username": login.username, "password": login.password, "fingerprint": jump_host.fingerprint}
    return {"name": jump_host.name, "host": jump_host.host, "port": jump_host.port, **known}


def _announce(path: Path, told: Iterable[dict[str, object]]) -> None:
    """Write all at once: whoever sees the file sees all of it."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        for one in told:
            file.write(json.dumps(one) + "\n")
    part.replace(path)


def _listen(fleet: Fleet, ended: threading.Event) -> None:
    for row in sys.stdin:
        if row.strip():
            sys.stdout.write(obey(fleet, row) + "\n")
            sys.stdout.flush()
    ended.set()


if __name__ == "__main__":
    sys.exit(main())
