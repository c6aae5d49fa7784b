"""The rights of every OpenBao role, asked of the real server: what it may do, and that it may do nothing else."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from backupflow.adapters.vault import CANARY, AppRoleLogin, TokenLogin, Vault
from backupflow.adapters.vault_roles import ROLES, provision
from backupflow.core.model import DeviceId, Purpose, SealedSecret, TenantId
from backupflow.errors import BackupflowError, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers

Body = dict[str, Any]
ALL_ROLES = (*ROLES, "installer")


def login(file: Path) -> AppRoleLogin:
    """The login that a secrets file holds."""
    fields = json.loads(file.read_text())
    return AppRoleLogin(fields["role_id"], fields["secret_id"])


@dataclass
class Place:
    """A set-up server: a client a role, a tenant with keys and something sealed under each of them."""

    vaults: dict[str, Vault]
    secrets_dir: Path
    tenant: TenantId
    device: DeviceId
    sealed: dict[Purpose, str]


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Set the server up as the installer, then log every role in."""
    secrets_dir = tmp_path_factory.mktemp("secrets")
    addr = servers.addresses.openbao_url
    installer = Vault(addr, login(servers.secret_path("installer.openbao")))
    provision(installer, secrets_dir)
    vaults = {role: Vault(addr, login(secrets_dir / f"{role}.openbao")) for role in ROLES} | {"installer": installer}
    tenant, device = TenantId(uuid4()), DeviceId(uuid4())
    pepper = vaults["provisioner"].make_keys(tenant)
    sealed = {
        Purpose.PEPPER: pepper.text,
        Purpose.DATA: vaults["collector"].seal_config(tenant, device, b"export").text,
        Purpose.CREDENTIALS: vaults["enroller"].seal_login(tenant, device, b"password").text,
    }
    yield Place(vaults, secrets_dir, tenant, device, sealed)
    for vault in vaults.values():
        vault.close()


@dataclass(frozen=True)
class Operation:
    """One request and who may make it; `$KEY`, `$CONTEXT` and `$SEALED` stand for those of the purpose."""

    name: str
    method: str
    path: str
    allowed: frozenset[str]
    body: Body | None = None
    purpose: Purpose = Purpose.DATA


def op(name: str, method: str, path: str, allowed: str, body: Body | None = None) -> Operation:
    """An operation that only the roles of a space-separated list may do."""
    return Operation(name, method, path, frozenset(allowed.split()), body)


def per_purpose(name: str, path: str, body: Body, **allowed: str) -> list[Operation]:
    """The same operation under each of the three purposes."""
    return [
        Operation(f"{name} {purpose}", "POST", path, frozenset(allowed.get(purpose, "").split()), body, purpose)
        for purpose in Purpose
    ]


MARK = b64encode(CANARY).decode()
EVERYBODY = " ".join(ALL_ROLES)
PLAINTEXT = b64encode(b"x").decode()
OPERATIONS = [
    *per_purpose(
        "encrypt",
        "transit/encrypt/$KEY",
        {"plaintext": PLAINTEXT, "context": "$CONTEXT"},
        credentials="enroller",
        data="collector interpreter",
        pepper="provisioner",
    ),
    *per_purpose(
        "decrypt",
        "transit/decrypt/$KEY",
        {"ciphertext": "$SEALED", "context": "$CONTEXT"},
        credentials="collector",
        data="interpreter reader",
        pepper="collector interpreter reader",
    ),
    *per_purpose(
        "rewrap",
        "transit/rewrap/$KEY",
        {"ciphertext": "$SEALED", "context": "$CONTEXT"},
        **dict.fromkeys(Purpose, "operator"),
    ),
    *per_purpose(
        "canary",
        "transit/hmac/$KEY",
        {"input": MARK, "key_version": "1"},
        **dict.fromkeys(Purpose, EVERYBODY),
    ),
    *per_purpose(
        "canary of a newer version",
        "transit/hmac/$KEY",
        {"input": MARK, "key_version": "2"},
        **dict.fromkeys(Purpose, EVERYBODY),
    ),
    *per_purpose("hmac of another text", "transit/hmac/$KEY", {"input": PLAINTEXT, "key_version": "1"}),
    *per_purpose("hmac of another text, newer", "transit/hmac/$KEY", {"input": PLAINTEXT, "key_version": "2"}),
    *per_purpose("hmac of many texts", "transit/hmac/$KEY", {"batch_input": [{"input": PLAINTEXT}]}),
    *per_purpose(
        "hmac of another text beside the canary",
        "transit/hmac/$KEY",
        {"input": MARK, "key_version": "1", "batch_input": [{"input": PLAINTEXT}]},
    ),
    *per_purpose("hmac without a version", "transit/hmac/$KEY", {"input": MARK}),
    *per_purpose(
        "rewrap many",
        "transit/rewrap/$KEY",
        {"batch_input": [{"ciphertext": "$SEALED", "context": "$CONTEXT"}]},
        **dict.fromkeys(Purpose, "operator"),
    ),
    *per_purpose(
        "retire old versions",
        "transit/keys/$KEY/config",
        {"min_decryption_version": 1},
        **dict.fromkeys(Purpose, "operator"),
    ),
    *per_purpose("rotate", "transit/keys/$KEY/rotate", {}, **dict.fromkeys(Purpose, "operator")),
    *per_purpose("trim", "transit/keys/$KEY/trim", {"min_available_version": 1}),
    *per_purpose("data key", "transit/datakey/plaintext/$KEY", {"context": "$CONTEXT"}),
    *per_purpose("make exportable", "transit/keys/$KEY/config", {"exportable": True}),
    *per_purpose("allow plain backups", "transit/keys/$KEY/config", {"allow_plaintext_backup": True}),
    op("seal under old versions", "POST", "transit/keys/$KEY/config", "", {"min_encryption_version": 0}),
    op("rotate by itself", "POST", "transit/keys/$KEY/config", "", {"auto_rotate_period": "24h"}),
    op("allow a deletion", "POST", "transit/keys/$THROWAWAY/config", "provisioner", {"deletion_allowed": True}),
    op("export", "GET", "transit/export/encryption-key/$KEY", ""),
    op("export for another vault", "GET", "transit/byok-export/$KEY/$KEY", ""),
    op("plain backup", "GET", "transit/backup/$KEY", ""),
    op("restore a key", "POST", "transit/restore/data-other", "", {"backup": PLAINTEXT}),
    op("read a key", "GET", "transit/keys/$KEY", "provisioner operator"),
    op("list keys", "LIST", "transit/keys", "operator"),
    op("make a key", "POST", "transit/keys/data-$NEW", "provisioner", {"type": "aes256-gcm96", "derived": True}),
    op("make a key that is not derived", "POST", "transit/keys/data-$NEW", "", {"derived": False}),
    op("make a key of another type", "POST", "transit/keys/data-$NEW", "", {"type": "rsa-2048", "derived": True}),
    op("make an exportable key", "POST", "transit/keys/data-$NEW", "", {"derived": True, "exportable": True}),
    op("import a key", "POST", "transit/keys/data-$NEW/import", "", {"ciphertext": PLAINTEXT}),
    op("delete a key", "DELETE", "transit/keys/$THROWAWAY", "provisioner"),
    op("change the mount", "POST", "transit/config/keys", "installer", {"disable_upsert": True}),
    op("read a policy", "GET", "sys/policies/acl/backupflow-reader", "installer"),
    op("write a policy", "PUT", "sys/policies/acl/backupflow-test", "installer", {"policy": ""}),
    op("write another's policy", "PUT", "sys/policies/acl/others", "", {"policy": ""}),
    op("make an AppRole", "POST", "auth/approle/role/backupflow-test", "installer", {"token_policies": []}),
    op("get a secret id", "POST", "auth/approle/role/backupflow-reader/secret-id", "installer", {}),
    op("make another's AppRole", "POST", "auth/approle/role/others", "", {"token_policies": []}),
    op("take a snapshot", "GET", "sys/storage/raft/snapshot", "installer"),
    op("mount an engine", "POST", "sys/mounts/kv", "", {"type": "kv"}),
    op("switch the audit off", "DELETE", "sys/audit/logs-openbao-audit-log", ""),
    op("make a token", "POST", "auth/token/create", "", {}),
    op("seal the vault", "POST", "sys/seal", "", {}),
]


def may(vault: Vault, method: str, path: str, body: Body | None) -> bool:
    """Whether the server lets this role do it; only `403` is a refusal, any other answer went past the policy."""
    try:
        vault.call(method, path, body)
    except VaultUnavailable as exc:
        return "(403)" not in exc.detail
    except BackupflowError:
        return True
    return True


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name.replace(" ", "-"))
def test_each_role_may_do_only_what_it_is_for(place: Place, operation: Operation) -> None:
    """For every operation exactly the listed roles get past the policies."""
    who = set()
    for role in ALL_ROLES:
        throwaway = f"data-{uuid4()}"
        if "$THROWAWAY" in operation.path:
            make = {"type": "aes256-gcm96", "derived": True}
            place.vaults["provisioner"].call("POST", f"transit/keys/{throwaway}", make)
        context: UUID = place.tenant if operation.purpose is Purpose.PEPPER else place.device
        words = {
            "$KEY": f"{operation.purpose}-{place.tenant}",
            "$CONTEXT": b64encode(context.bytes).decode(),
            "$SEALED": place.sealed[operation.purpose],
            "$NEW": str(uuid4()),
            "$THROWAWAY": throwaway,
        }
        path, body = operation.path, operation.body
        for word, value in words.items():
            path = path.replace(word, value)
            body = body and {name: value if content == word else content for name, content in body.items()}
        if may(place.vaults[role], operation.method, path, body):
            who.add(role)
    assert who == operation.allowed


def test_nobody_makes_a_missing_key_by_encrypting(place: Place) -> None:
    """Encrypting under a key that does not exist makes none, whoever asks."""
    stranger = TenantId(uuid4())
    for role in ("collector", "interpreter"):
        with pytest.raises(BackupflowError):
            place.vaults[role].seal_config(stranger, place.device, b"export")
    assert not may_read(place.vaults["provisioner"], f"transit/keys/data-{stranger}")


def may_read(vault: Vault, path: str) -> bool:
    """Whether something is there."""
    try:
        vault.call("GET", path)
    except BackupflowError:
        return False
    return True


def test_logins_are_kept_while_they_work(place: Place) -> None:
    """A second set-up changes no login that works, and makes anew what is lost or wrong."""
    installer = place.vaults["installer"]
    before = {role: (place.secrets_dir / f"{role}.openbao").read_text() for role in ROLES}
    assert provision(installer, place.secrets_dir) == []
    assert {role: (place.secrets_dir / f"{role}.openbao").read_text() for role in ROLES} == before

    (place.secrets_dir / "reader.openbao").unlink()
    wrong = json.loads(before["operator"]) | {"secret_id": "wrong"}
    (place.secrets_dir / "operator.openbao").write_text(json.dumps(wrong))
    (place.secrets_dir / "ingester.openbao").write_text("half a fi")
    assert set(provision(installer, place.secrets_dir)) == {"reader", "operator", "ingester"}
    reader = Vault(installer._client.url, login(place.secrets_dir / "reader.openbao"))
    pepper = reader.open_pepper(place.tenant, SealedSecret(place.sealed[Purpose.PEPPER]))
    assert len(pepper) == 32
    reader.close()


def test_logins_are_private_files(place: Place) -> None:
    """Only their owner may read the files with the logins."""
    modes = {stat.S_IMODE((place.secrets_dir / f"{role}.openbao").stat().st_mode) for role in ROLES}
    assert modes == {0o600}
    assert not list(place.secrets_dir.glob("*.new"))


def test_an_admin_token_sets_up_a_server_of_others(place: Place, tmp_path: Path) -> None:
    """With an admin's token the set-up makes the installer too, whose login then does the next set-up."""
    installer = place.vaults["installer"]
    everything = '{ capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'
    installer.call("PUT", "sys/policies/acl/backupflow-admin", {"policy": f'path "*" {everything}'})
    role = "auth/approle/role/backupflow-admin"
    installer.call("POST", role, {"token_policies": ["backupflow-admin"]})
    role_id = installer.call("GET", f"{role}/role-id")["data"]["role_id"]
    secret_id = installer.call("POST", f"{role}/secret-id", {})["data"]["secret_id"]
    url = installer._client.url
    admin = Vault(url, AppRoleLogin(role_id, secret_id))
    token = admin.call("POST", "auth/token/create-orphan", {"policies": ["backupflow-admin"]})["auth"]["client_token"]
    try:
        assert "installer" in provision(Vault(url, TokenLogin(token)), tmp_path)
        next_time = Vault(url, login(tmp_path / "installer.openbao"))
        assert provision(next_time, tmp_path) == []
    finally:
        for name in ("admin", "installer"):
            installer.call("DELETE", f"auth/approle/role/backupflow-{name}")
            installer.call("DELETE", f"sys/policies/acl/backupflow-{name}")
