"""Who may do what in OpenBao: the transit mount, a policy and an AppRole for each role, and files with their logins.

The same for an embedded server, where the installer does it with an AppRole, and for a configured one, where an admin
does it once with a token, which makes the installer. tests/contract holds these rights against the real server.

1. A key's name begins with its purpose: globs end a path, so `data-*` is one purpose of every tenant.
2. Only `update` on encrypt: with `create` the vault would make a missing key, and nothing old could be opened again.
3. The most specific path wins (openbao.org/docs/concepts/policies): a rule could outweigh a refusal; the matrix tells.
4. Who holds the installer's login can write himself any policy: it is for the set-up and for backups alone.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any, Protocol

from backupflow.errors import NotFound, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PREFIX = "backupflow-"  # a server may serve others too
TOKEN_PERIOD_SECONDS = 3600
_CANARY = base64.b64encode(b"backupflow key canary").decode()  # vault.CANARY: adapters know nothing of one another
_PURPOSES = ("credentials", "data", "pepper")


class Admin(Protocol):
    """A login that may set up the server: `vault.Vault` with the installer's AppRole, or with an admin's token."""

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; NotFound if there is nothing at the path, VaultUnavailable if it is refused."""
        ...


def _rule(path: str, *capabilities: str, parameters: str = "") -> str:
    may = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{may}]\n{parameters}}}\n'


def _transit(operation: str, *purposes: str) -> list[str]:
    return [_rule(f"transit/{operation}/{purpose}-*", "update") for purpose in purposes]


def _only(**values: str) -> str:
    inside = "".join(f'    "{name}" = {allowed}\n' for name, allowed in values.items())
    return f"  allowed_parameters = {{\n{inside}  }}\n"


# Under any version: the canary moves to the newest one before the older ones are retired.
_MARK = _only(input=f'["{_CANARY}"]', key_version="[]") + '  required_parameters = ["input", "key_version"]\n'
_NEW_KEY = _only(type='["aes256-gcm96"]', derived="[true]", exportable="[false]", allow_plaintext_backup="[false]")
_EVERYBODY = [
    *(_rule(f"transit/hmac/{purpose}-*", "update", parameters=_MARK) for purpose in _PURPOSES),
    _rule("sys/health", "read"),
    _rule("auth/token/renew-self", "update"),
    _rule("auth/token/lookup-self", "read"),
]
_NOBODY = [
    _rule(path, "deny")
    for path in (
        "transit/export/*",
        "transit/byok-export/*",
        "transit/backup/*",
        "transit/restore",
        "transit/restore/*",
        "transit/datakey/*",
        "transit/keys/+/trim",
        "transit/keys/+/import",
        "transit/keys/+/import_version",
    )
]
_ROLES: dict[str, list[str]] = {
    "scheduler": [],
    "ingester": [],
    "enroller": _transit("encrypt", "credentials"),
    "collector": [*_transit("decrypt", "credentials", "pepper"), *_transit("encrypt", "data")],
    "interpreter": [*_transit("encrypt", "data"), *_transit("decrypt", "data", "pepper")],
    "reader": _transit("decrypt", "data", "pepper"),
    "provisioner": [
        _rule("transit/keys/+", "create", "read", "update", "delete", parameters=_NEW_KEY),
        _rule("transit/keys/+/config", "update", parameters=_only(deletion_allowed="[true]")),
        *_transit("encrypt", "pepper"),
    ],
    "operator": [
        _rule("transit/keys", "list"),
        _rule("transit/keys/+", "read"),
        _rule("transit/keys/+/rotate", "update"),
        _rule("transit/keys/+/config", "update", parameters=_only(min_decryption_version="[]")),
        *_transit("rewrap", *_PURPOSES),
    ],
}
ROLES = tuple(_ROLES)


def policy(role: str) -> str:
    """The policy of a role of `ROLES`, in HCL."""
    return "".join([*_ROLES[role], *_EVERYBODY, *_NOBODY])


def installer_policy(name: str) -> str:
    """The policy of the installer, whose own policy and AppRole have that name."""
    everything = ("create", "read", "update", "delete", "list")
    rules = [
        *(_rule(f"sys/policies/acl/{what}", *everything) for what in (f"{PREFIX}*", name)),
        *(_rule(f"auth/approle/role/{what}", *everything) for what in (f"{PREFIX}*", name, f"{name}/*")),
        _rule("sys/mounts/transit", "create", "read", "update"),
        _rule("transit/config/keys", "create", "read", "update"),
        _rule("sys/storage/raft/snapshot", "read", "update"),
    ]
    return "".join([*rules, *_EVERYBODY, *_NOBODY])


def provision(admin: Admin, secrets_dir: Path) -> list[str]:
    """Make what is missing, leave what works; the roles that got a new login, in `<secrets_dir>/<role>.openbao` (0600).

    A login that was replaced because its file was lost stays valid on the server until somebody destroys it there.
    SettingsInvalid if a file cannot be written, VaultUnavailable if the server refuses.
    """
    _mount(admin)
    about = admin.call("GET", "auth/token/lookup-self")["data"]
    renewed: list[str] = []
    if "role_name" in (about.get("meta") or {}):
        own = about["meta"]["role_name"]
        admin.call("PUT", f"sys/policies/acl/{own}", {"policy": installer_policy(own)})
    else:
        if "approle/" not in admin.call("GET", "sys/auth")["data"]:
            admin.call("POST", "sys/auth/approle", {"type": "approle"})
        own = f"{PREFIX}installer"
        renewed += _role(admin, secrets_dir, "installer", installer_policy(own))
    for role in ROLES:
        renewed += _role(admin, secrets_dir, role, policy(role))
    return renewed


def _mount(admin: Admin) -> None:
    if not _has(admin, "sys/mounts/transit"):
        admin.call("POST", "sys/mounts/transit", {"type": "transit"})
    admin.call("POST", "transit/config/keys", {"disable_upsert": True})


def _role(admin: Admin, secrets_dir: Path, role: str, text: str) -> Iterable[str]:
    name = f"{PREFIX}{role}"
    if role == "installer" and not _has(admin, "sys/auth/approle"):
        admin.call("POST", "sys/auth/approle", {"type": "approle"})
    admin.call("PUT", f"sys/policies/acl/{name}", {"policy": text})
    path = f"auth/approle/role/{name}"
    limits = {
        "token_policies": [name],
        "token_period": TOKEN_PERIOD_SECONDS,
        "token_no_default_policy": True,
        "secret_id_ttl": 0,
        "secret_id_num_uses": 0,
    }
    admin.call("POST", path, limits)
    role_id = admin.call("GET", f"{path}/role-id")["data"]["role_id"]
    file = secrets_dir / f"{role}.openbao"
    kept = _read(file)
    if kept.get("role_id") == role_id and kept.get("secret_id"):
        found = admin.call("POST", f"{path}/secret-id/lookup", {"secret_id": kept["secret_id"]})
        if found.get("data"):
            return []
    secret_id = admin.call("POST", f"{path}/secret-id", {})["data"]["secret_id"]
    _write(file, {"role_id": role_id, "secret_id": secret_id})
    return [role]


def _has(admin: Admin, path: str) -> bool:
    try:
        admin.call("GET", path)
    except NotFound:
        return False
    return True


def _read(file: Path) -> dict[str, Any]:
    try:
        login = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return login if isinstance(login, dict) else {}


def _write(file: Path, login: dict[str, str]) -> None:
    """Whole or not at all, and never readable by others."""
    half = file.with_name(f"{file.name}.new")
    try:
        half.unlink(missing_ok=True)
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
            json.dump(login, text)
            text.flush()
            os.fsync(text.fileno())
        half.replace(file)
    except OSError as exc:
        raise SettingsInvalid(f"{file}: {exc.strerror}") from exc
