"""The vault adapter on a real OpenBao: what it seals, and what it says when keys, token or server are wrong."""

from __future__ import annotations

import json
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psutil
import pytest

from backupflow.adapters.vault import AppRoleLogin, TokenLogin, Vault
from backupflow.adapters.vault.transit import OPENED_AT_ONCE
from backupflow.adapters.vault_roles import ROLES, provision
from backupflow.core.model import DeviceId, Purpose, SealedConfig, SealedSecret, TenantId
from backupflow.errors import Conflict, MessageMalformed, OutputTooLarge, TransitKeyMissing, VaultUnavailable
from backupflow.flows.importing import SEALED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.adapters.vault.trouble import Trouble
    from backupflow.core.ports import (
        Canary,
        ConfigOpener,
        KeyMaker,
        Rewrapper,
        Sealer,
        SecretOpener,
        SecretSealer,
    )
    from backupflow.embedded import Servers

SECRET = b"a planted marker of a secret"


@dataclass
class Place:
    """A set-up server and a tenant with keys."""

    url: str
    logins: dict[str, AppRoleLogin]
    vaults: dict[str, Vault]
    tenant: TenantId
    pepper: SealedSecret

    def vault(self, role: str, *, seconds: float = 5.0) -> Vault:
        """Another client under a role's login."""
        return Vault(self.url, self.logins[role], timeout=timedelta(seconds=seconds))


def read_login(text: str) -> AppRoleLogin:
    """A login from the text of its file."""
    fields = json.loads(text)
    return AppRoleLogin(fields["role_id"], fields["secret_id"])


@pytest.fixture(scope="module")
def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Set the server up and give it a tenant."""
    folder = tmp_path_factory.mktemp("vault")
    url = servers.addresses.openbao_url
    installer = Vault(url, read_login(servers.secret_path("installer.openbao").read_text()))
    provision(installer, folder)
    logins = {role: read_login((folder / f"{role}.openbao").read_text()) for role in ROLES}
    vaults = {role: Vault(url, login) for role, login in logins.items()} | {"installer": installer}
    tenant = TenantId(uuid4())
    yield Place(url, logins, vaults, tenant, vaults["provisioner"].make_keys(tenant))
    for vault in vaults.values():
        vault.close()


def test_the_vault_is_what_the_flows_ask_for(place: Place) -> None:
    """All ports, as mypy sees them, and each under the role that uses it."""
    enroller: SecretSealer = place.vaults["enroller"]
    collector: SecretOpener = place.vaults["collector"]
    sealer: Sealer = place.vaults["collector"]
    opener: ConfigOpener = place.vaults["reader"]
    canary: Canary = place.vaults["scheduler"]
    maker: KeyMaker = place.vaults["provisioner"]
    rewrapper: Rewrapper = place.vaults["operator"]
    device, profile, tenant = DeviceId(uuid4()), uuid4(), TenantId(uuid4())
    pepper = maker.make_keys(tenant)
    assert len(collector.open_pepper(tenant, pepper)) == 32
    assert collector.open_login(tenant, profile, enroller.seal_login(tenant, profile, b"password")) == b"password"
    sealed = sealer.seal_config(tenant, device, b"\x00export\xff")
    assert opener.open_config(tenant, device, sealed) == b"\x00export\xff"
    assert canary.mark(tenant, Purpose.DATA) != canary.mark(tenant, Purpose.PEPPER)
    assert isinstance(rewrapper.rewrap(tenant, Purpose.DATA, device, sealed), SealedConfig)


def test_many_logins_are_sealed_at_once_each_for_its_own(place: Place) -> None:
    """As many as are asked for in one request; each opens for its device alone, and all fail where there is no key."""
    enroller, collector = place.vaults["enroller"], place.vaults["collector"]
    secrets = [(uuid4(), f"password {number}".encode()) for number in range(SEALED_AT_ONCE)]
    sealed = enroller.seal_logins(place.tenant, secrets)
    opened = [collector.open_login(place.tenant, owner, its) for (owner, _), its in zip(secrets, sealed, strict=True)]
    assert opened == [secret for _, secret in secrets]
    with pytest.raises(MessageMalformed):
        collector.open_login(place.tenant, secrets[0][0], sealed[1])
    with pytest.raises(TransitKeyMissing):
        enroller.seal_logins(UNKNOWN, secrets)


def test_sealed_text_shows_nothing_and_is_never_the_same(place: Place) -> None:
    """Two sealings of one text differ."""
    collector, device = place.vaults["collector"], DeviceId(uuid4())
    first, second = (collector.seal_config(place.tenant, device, SECRET) for _ in range(2))
    assert first != second


def test_a_ciphertext_opens_in_its_own_place_only(place: Place) -> None:
    """Sealed for one device it does not open for another, nor as another tenant's, nor when it was altered."""
    collector, reader, device = place.vaults["collector"], place.vaults["reader"], DeviceId(uuid4())
    other = TenantId(uuid4())
    place.vaults["provisioner"].make_keys(other)
    sealed = collector.seal_config(place.tenant, device, SECRET)
    altered = SealedConfig(sealed.text[:-6] + ("AAAA==" if not sealed.text.endswith("AAAA==") else "BBBB=="))
    cut = SealedConfig("vault:v1:AAAA")
    for tenant, where, what in (
        (place.tenant, DeviceId(uuid4()), sealed),
        (other, device, sealed),
        (place.tenant, device, altered),
        (place.tenant, device, cut),
    ):
        with pytest.raises(MessageMalformed):
            reader.open_config(tenant, where, what)


def test_many_texts_are_opened_at_once_each_for_its_own_device(place: Place) -> None:
    """More than go into one request, in their order; what is altered, foreign or of lost keys fails alone."""
    collector, reader = place.vaults["collector"], place.vaults["reader"]
    devices = [DeviceId(uuid4()) for _ in range(7)]
    sealed = [collector.seal_config(place.tenant, device, device.bytes) for device in devices]
    several = [(device, text) for _ in range(40) for device, text in zip(devices, sealed, strict=True)]
    assert len(several) > 2 * OPENED_AT_ONCE
    assert reader.open_configs(place.tenant, several) == [device.bytes for device, _ in several]
    bad = [
        (devices[1], sealed[0]),
        (devices[0], SealedConfig(sealed[0].text[:-8] + "AAAAAAA=")),
        (devices[0], SealedConfig("vault:v1:AAAA")),
        (devices[0], SealedConfig(sealed[0].text.replace(":v", ":v99"))),
    ]
    opened = reader.open_configs(place.tenant, [several[0], *bad, several[6]])
    assert (opened[0], opened[-1]) == (devices[0].bytes, devices[6].bytes)
    kinds = [type(one) for one in opened[1:-1]]
    assert kinds == [MessageMalformed, MessageMalformed, MessageMalformed, TransitKeyMissing]
    assert [type(one) for one in reader.open_configs(place.tenant, bad)] == kinds
    assert reader.open_configs(place.tenant, []) == []
    for tenant, role, failure in (
        (UNKNOWN, "reader", TransitKeyMissing),
        (place.tenant, "collector", VaultUnavailable),
    ):
        with pytest.raises(failure):
            place.vaults[role].open_configs(tenant, several)


def test_large_texts_are_opened_in_requests_of_bounded_size(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit go together, one that is larger than that goes alone, and each opens."""
    device, collector, reader = DeviceId(uuid4()), place.vaults["collector"], place.vaults["reader"]
    texts = [bytes([number]) * (7 if number % 3 else 600_000) for number in range(9)]
    sealed = [(device, collector.seal_config(place.tenant, device, text)) for text in texts]
    sizes: list[int] = []
    ask = reader.ask

    def asked(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | Trouble:
        assert body is not None
        sizes.append(sum(len(item["ciphertext"]) for item in body["batch_input"]))
        return ask(method, path, body)

    monkeypatch.setattr(reader, "ask", asked)
    monkeypatch.setattr("backupflow.adapters.vault.transit.OPENED_BYTES_AT_ONCE", 1_000_000)
    assert reader.open_configs(place.tenant, sealed) == texts
    assert len(sizes) == 3
    assert max(sizes) < 1_000_000
    sizes.clear()
    monkeypatch.setattr("backupflow.adapters.vault.transit.OPENED_BYTES_AT_ONCE", 1_000)
    assert reader.open_configs(place.tenant, sealed) == texts
    assert len(sizes) == 6


def test_a_login_opens_for_its_profile_only(place: Place) -> None:
    """A password that was moved to another profile's row does not open there."""
    sealed = place.vaults["enroller"].seal_login(place.tenant, uuid4(), SECRET)
    with pytest.raises(MessageMalformed):
        place.vaults["collector"].open_login(place.tenant, uuid4(), sealed)


def test_keys_are_made_once(place: Place) -> None:
    """A tenant that has keys gets no others, and its pepper stays what it was."""
    before = place.vaults["collector"].open_pepper(place.tenant, place.pepper)
    with pytest.raises(Conflict):
        place.vaults["provisioner"].make_keys(place.tenant)
    assert place.vaults["collector"].open_pepper(place.tenant, place.pepper) == before


def test_keys_cannot_leave_the_vault(place: Place) -> None:
    """A tenant's keys are derived, not exportable, and not deletable by mistake."""
    for purpose in Purpose:
        key = place.vaults["operator"].call("GET", f"transit/keys/{purpose}-{place.tenant}")["data"]
        assert key["derived"]
        assert not key["exportable"]
        assert not key["allow_plaintext_backup"]
        assert not key["deletion_allowed"]


def test_rotation_keeps_everything_readable(place: Place) -> None:
    """After a rotation the old text opens, is rewrapped to the new version, and the canary stays the same."""
    operator, reader = place.vaults["operator"], place.vaults["reader"]
    tenant, device = TenantId(uuid4()), DeviceId(uuid4())
    place.vaults["provisioner"].make_keys(tenant)
    old = place.vaults["collector"].seal_config(tenant, device, SECRET)
    mark = place.vaults["ingester"].mark(tenant, Purpose.DATA)
    assert operator.rotate(tenant, Purpose.DATA) == 2
    new = operator.rewrap(tenant, Purpose.DATA, device, old)
    assert new.text.startswith("vault:v2:")
    for sealed in (old, SealedConfig(new.text)):
        assert reader.open_config(tenant, device, sealed) == SECRET
    with pytest.raises(MessageMalformed):
        operator.rewrap(tenant, Purpose.DATA, uuid4(), old)
    assert place.vaults["ingester"].mark(tenant, Purpose.DATA) == mark


def test_a_missing_key_is_told_from_a_vault_that_is_down(place: Place) -> None:
    """What is asked under keys that are gone says so, also sealing, which the server answers like a missing right."""
    stranger, device = TenantId(uuid4()), DeviceId(uuid4())
    sealed = place.vaults["collector"].seal_config(place.tenant, device, SECRET)
    newer = SealedConfig(sealed.text.replace(":v", ":v99"))
    for ask in (
        lambda: place.vaults["scheduler"].mark(stranger, Purpose.CREDENTIALS),
        lambda: place.vaults["collector"].seal_config(stranger, device, SECRET),
        lambda: place.vaults["reader"].open_config(stranger, device, sealed),
        lambda: place.vaults["reader"].open_config(place.tenant, device, newer),
    ):
        with pytest.raises(TransitKeyMissing):
            ask()


def test_a_right_that_is_missing_is_no_missing_key(place: Place) -> None:
    """A role that may not seal is told that it is refused."""
    with pytest.raises(VaultUnavailable, match="403"):
        place.vaults["reader"].seal_config(place.tenant, DeviceId(uuid4()), SECRET)


def test_shredding_a_tenant_is_final_and_repeatable(place: Place) -> None:
    """A removed tenant's keys are gone; others' stay; a second time is no error."""
    tenant, provisioner = TenantId(uuid4()), place.vaults["provisioner"]
    provisioner.make_keys(tenant)
    provisioner.delete_keys(tenant)
    provisioner.delete_keys(tenant)
    for purpose in Purpose:
        with pytest.raises(TransitKeyMissing):
            place.vaults["scheduler"].mark(tenant, purpose)
        assert place.vaults["scheduler"].mark(place.tenant, purpose)


def test_what_is_too_large_for_the_vault_counts_against_its_device_only(place: Place) -> None:
    """One enormous export is no outage."""
    with pytest.raises(OutputTooLarge):
        place.vaults["collector"].seal_config(place.tenant, DeviceId(uuid4()), bytes(40 * 1024 * 1024))


def test_a_revoked_token_is_replaced_once(place: Place) -> None:
    """After its token was revoked a client logs in again by itself, all its threads with one login."""
    vault = place.vault("collector")
    device = DeviceId(uuid4())
    vault.seal_config(place.tenant, device, SECRET)
    stale = vault._token
    assert stale is not None
    other = Vault(place.url, TokenLogin(stale.text))
    accessor = other.call("GET", "auth/token/lookup-self")["data"]["accessor"]
    admin = place.vaults["installer"]
    admin.call("PUT", "sys/policies/acl/backupflow-revoker", {"policy": REVOKER})
    role = "auth/approle/role/backupflow-revoker"
    admin.call("POST", role, {"token_policies": ["backupflow-revoker"]})
    role_id = admin.call("GET", f"{role}/role-id")["data"]["role_id"]
    secret_id = admin.call("POST", f"{role}/secret-id", {})["data"]["secret_id"]
    revoker = Vault(place.url, AppRoleLogin(role_id, secret_id))
    revoker.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: vault.seal_config(place.tenant, device, SECRET), range(16)))
    assert len(sealed) == 16
    assert vault._token is not stale
    for client in (vault, other, revoker):
        client.close()
    admin.call("DELETE", role)
    admin.call("DELETE", "sys/policies/acl/backupflow-revoker")


REVOKER = 'path "auth/token/revoke-accessor" { capabilities = ["update"] }'


def test_a_token_is_renewed_before_it_ends(place: Place) -> None:
    """When two thirds of its time are over the same token is renewed by the next call."""
    vault = place.vault("scheduler")
    vault.mark(place.tenant, Purpose.DATA)
    before = vault._token
    assert before is not None
    vault._token = type(before)(before.text, renew_at=0.0)
    vault.mark(place.tenant, Purpose.DATA)
    after = vault._token
    assert after.text == before.text
    assert after.renew_at >= before.renew_at
    vault.close()


def test_a_wrong_login_is_refused_and_shows_no_secret(place: Place) -> None:
    """A secret id that the server does not know is named as such, without it."""
    vault = Vault(place.url, AppRoleLogin(place.logins["reader"].role_id, "a-wrong-secret-id"))
    with pytest.raises(VaultUnavailable, match="knows no such role or secret id") as refused:
        vault.mark(place.tenant, Purpose.DATA)
    assert "a-wrong-secret-id" not in chain(refused.value)
    assert "a-wrong-secret-id" not in repr(vault._login)
    vault.close()


def chain(exc: BaseException | None) -> str:
    """All that hangs on an exception: texts, arguments and attributes, along the chain."""
    text = ""
    while exc is not None:
        text += f"{exc!s} {exc!r} {vars(exc)}"
        exc = exc.__cause__ or exc.__context__
    return text


def test_no_failure_carries_what_was_to_be_sealed(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the exceptions nor the log of the libraries hold a plaintext, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    gone = Vault("http://127.0.0.1:1", place.logins["collector"])
    device = DeviceId(uuid4())
    for ask in (
        lambda: place.vaults["reader"].seal_config(place.tenant, device, SECRET),
        lambda: place.vaults["collector"].seal_config(TenantId(uuid4()), device, SECRET),
        lambda: gone.seal_config(place.tenant, device, SECRET),
        lambda: place.vaults["enroller"].seal_login(UNKNOWN, device, SECRET),
    ):
        with pytest.raises((VaultUnavailable, TransitKeyMissing)) as failed:
            ask()
        assert failed.value.__cause__ is None
        assert failed.value.__context__ is None
    for secret in (SECRET.decode(), place.logins["collector"].secret_id):
        assert secret not in caplog.text
    gone.close()


UNKNOWN = TenantId(UUID(int=0))


def test_a_mute_vault_is_waited_for_no_longer_than_its_time(place: Place) -> None:
    """A server that accepts and says nothing is unavailable, not absent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mute = Vault(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            place.logins["reader"],
            timeout=timedelta(milliseconds=200),
        )
        for ask in (mute.status, lambda: mute.mark(place.tenant, Purpose.DATA)):
            with pytest.raises(VaultUnavailable, match="did not answer in time"):
                ask()
        mute.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", "not understood"),
        (b"HTTP/1.1 307 Moved\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", "not understood"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nhell", "not understood"),
        (b"HTTP/1.1 503 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "sealed or not ready"),
        (b"garbage\r\n\r\n", "nobody answers"),
    ],
)
def test_what_is_no_vault_is_never_an_absent_key(place: Place, answer: bytes, says: str) -> None:
    """A proxy's error page, a redirect or rubbish mean that the vault is unavailable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=_answer_all, args=(listener, answer), daemon=True)
        serving.start()
        strange = Vault(f"http://127.0.0.1:{listener.getsockname()[1]}", TokenLogin("token"))
        for purpose in Purpose:
            with pytest.raises(VaultUnavailable, match=says):
                strange.mark(place.tenant, purpose)
        strange.close()
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(10)


def _answer_all(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            request = b""
            while not request.endswith(b"}") and (more := connection.recv(65536)):
                request += more
            # Said, not only done: else the next request may still go into a connection that is just being closed.
            connection.sendall(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))


def test_proxies_and_logins_of_the_environment_are_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the process cannot send the vault's traffic elsewhere, nor give it a token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "token-of-somebody")
    vault = place.vault("scheduler")
    assert vault.mark(place.tenant, Purpose.DATA)
    assert vault._client.token != "token-of-somebody"
    vault.close()


def test_doctor_sees_version_and_state_without_a_login(place: Place) -> None:
    """The state of the server is known before anybody can log in."""
    status = Vault(place.url, TokenLogin("none")).status()
    assert status.version.startswith("2.")
    assert (status.initialised, status.sealed, status.active) == (True, False, True)


def test_close_gives_the_connections_back(place: Place) -> None:
    """A client that was closed keeps no descriptor."""
    process = psutil.Process()
    before = process.num_fds()
    vault = place.vault("collector")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: vault.seal_config(place.tenant, DeviceId(uuid4()), SECRET), range(32)))
    vault.close()
    assert process.num_fds() == before
