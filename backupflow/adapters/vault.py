"""OpenBao Transit through hvac: seal, open, rewrap, key check. One `Vault` a process, made after fork.

A tenant has three keys, `<purpose>-<tenant>`, all made with `derived=true`: the context binds a ciphertext to its place
(profile or device, device, tenant), since rewrap takes no associated data. Measured on OpenBao 2.7.2:

1. The context of a key that is not derived is ignored in silence, so `derived` is checked when a key is made.
2. Making a key that exists answers 200 with the old key, so it is read first.
3. A role that may only `update` gets 403, not 400, for encrypting under a missing key: the canary tells them apart.
4. 503, 403 and time-outs never mean that a key is absent.

What hvac and requests raise holds the body of the request, a plaintext or a secret id: it is translated and dropped,
and ours is raised outside the handler, so that no chain of exceptions leads to it.
"""

from __future__ import annotations

import secrets
import threading
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import hvac
import requests
from hvac.exceptions import Forbidden, InvalidPath, VaultDown, VaultError
from requests.adapters import HTTPAdapter

from backupflow.core.model import Pepper, Purpose, Sealed, SealedConfig, SealedSecret
from backupflow.errors import (
    BackupflowError,
    Conflict,
    MessageMalformed,
    NotFound,
    OutputTooLarge,
    TransitKeyMissing,
    VaultUnavailable,
)

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.model import DeviceId, TenantId

CANARY = b"backupflow key canary"  # the policies of vault_roles allow the HMAC of nothing else
PEPPER_BYTES = 32
_POLL_SECONDS = 0.1

Answer = dict[str, Any]


class _Trouble(StrEnum):
    """Why there is no answer; the value is what an operator reads."""

    REFUSED = "it refuses this role what it asked for (403)"
    LOGIN = "it knows no such role or secret id: run the set-up again"
    STARTING = "its node is not active yet"
    SEALED = "it is sealed or not ready (503)"
    SLOW = "it did not answer in time"
    UNREACHABLE = "nobody answers at its address"
    KEY = "no such key"
    VERSION = "the key has no such version: it is older than its ciphertexts"
    RETIRED = "that version of the key was retired (min_decryption_version)"
    ALTERED = "sealed for another place, or altered"
    TOO_LARGE = "more than the vault takes at once"
    ABSENT = "nothing at that path"
    OTHER = "it answered what is not understood"


_SAYS = {
    "encryption key not found": _Trouble.KEY,
    "no existing key named": _Trouble.KEY,
    "could not delete key; not found": _Trouble.KEY,
    "version is too new": _Trouble.VERSION,
    "no such key version": _Trouble.RETIRED,
    "disallowed by policy (too old)": _Trouble.RETIRED,
    "message authentication failed": _Trouble.ALTERED,
    "invalid ciphertext": _Trouble.ALTERED,
    "invalid role or secret ID": _Trouble.LOGIN,
    "No secret engine mount at": _Trouble.ABSENT,
    "No auth engine at": _Trouble.ABSENT,
    "node not active": _Trouble.STARTING,
    "is sealed": _Trouble.SEALED,
    "request body too large": _Trouble.TOO_LARGE,
}
_ERRORS: dict[_Trouble, type[BackupflowError]] = {
    _Trouble.KEY: TransitKeyMissing,
    _Trouble.VERSION: TransitKeyMissing,
    _Trouble.ALTERED: MessageMalformed,
    _Trouble.TOO_LARGE: OutputTooLarge,
    _Trouble.ABSENT: NotFound,
}


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """A role's login, as its secrets file has it."""

    role_id: str
    secret_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """An admin's token, given once to the set-up of a server that is not ours."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """What `sys/health` says, without a login."""

    version: str
    initialised: bool
    sealed: bool
    active: bool


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float  # monotonic seconds


class Vault:
    """Sealer, ConfigOpener, SecretOpener, SecretSealer, Canary, KeyMaker, Rewrapper: the role's policy decides which.

    `timeout` bounds the connect and each wait for bytes; `patience` how long a starting node is waited for at a login;
    `pool` is how many threads call at once; `ca` a file with the authority of an https address.
    """

    def __init__(
        self,
        addr: str,
        login: AppRoleLogin | TokenLogin,
        *,
        pool: int = 10,
        timeout: timedelta = timedelta(seconds=5),
        patience: timedelta = timedelta(seconds=10),
        ca: str | None = None,
    ) -> None:
        self._login = login
        self._timeout = timeout.total_seconds()
        self._patience = patience.total_seconds()
        self._lock = threading.Lock()
        self._token: _Token | None = None
        session = requests.Session()
        session.trust_env = False  # no proxy and no netrc of whoever starts the process
        session.verify = ca or True
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=pool))
        # An empty token and no redirects: hvac would read ~/.vault-token, requests would carry the token elsewhere.
        self._client = hvac.Client(url=addr, token="", session=session, allow_redirects=False)

    # --- the ports ---------------------------------------------------------------------------------------------

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Seal an envelope for its device."""
        return SealedConfig(self._encrypt(tenant_id, Purpose.DATA, device_id, envelope))

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Give back the envelope; MessageMalformed if it was sealed for another device or was altered."""
        return self._decrypt(tenant_id, Purpose.DATA, device_id, sealed)

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """Seal the secret part of a login for its profile or device."""
        return SealedSecret(self._encrypt(tenant_id, Purpose.CREDENTIALS, context, secret))

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Give back the secret part of a login; MessageMalformed if it was sealed for another profile or device."""
        return self._decrypt(tenant_id, Purpose.CREDENTIALS, context, sealed)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Give back the tenant's pepper."""
        return Pepper(self._decrypt(tenant_id, Purpose.PEPPER, tenant_id, sealed))

    def mark(self, tenant_id: TenantId, purpose: Purpose) -> str:
        """The HMAC of a fixed text under version 1 of the key; TransitKeyMissing if there is none."""
        body = {"input": _b64(CANARY), "key_version": "1"}  # a text: a policy compares it as one
        return str(self._transit("hmac", tenant_id, purpose, body)["hmac"])

    def make_keys(self, tenant_id: TenantId) -> SealedSecret:
        """Make the three keys and give back a new sealed pepper; Conflict if the tenant has a key already."""
        for purpose in Purpose:
            if self._ask("GET", _key_path(tenant_id, purpose)) is not _Trouble.ABSENT:
                self.call("GET", _key_path(tenant_id, purpose))  # raises, unless the key is there
                raise Conflict("this tenant has keys already")
        wanted = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}
        for purpose in Purpose:
            made = self.call("POST", _key_path(tenant_id, purpose), wanted)["data"]
            if any(made.get(name) != value for name, value in wanted.items()) or made.get("deletion_allowed"):
                raise VaultUnavailable("it made a key of another kind than it was asked for")
        return SealedSecret(self._encrypt(tenant_id, Purpose.PEPPER, tenant_id, secrets.token_bytes(PEPPER_BYTES)))

    def rewrap(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> Sealed:
        """The same plaintext under the newest version, as the same class; the plaintext does not leave the vault."""
        body = {"ciphertext": sealed.text, "context": _b64(context.bytes)}
        return type(sealed)(self._transit("rewrap", tenant_id, purpose, body)["ciphertext"])

    def rotate(self, tenant_id: TenantId, purpose: Purpose) -> int:
        """Add a version to a key and give back its number; what older versions sealed stays readable."""
        path = f"{_key_path(tenant_id, purpose)}/rotate"
        return int(self.call("POST", path, {})["data"]["latest_version"])

    def delete_keys(self, tenant_id: TenantId) -> None:
        """Shred a tenant: nothing that was sealed for it can ever be opened again. Keys that are gone are no error."""
        for purpose in Purpose:
            path = _key_path(tenant_id, purpose)
            if self._ask("POST", f"{path}/config", {"deletion_allowed": True}) is not _Trouble.KEY:
                self.call("DELETE", path)

    def status(self) -> VaultStatus:
        """Version and state, without a login; VaultUnavailable if nobody answers."""
        states = {"standbyok": "true", "sealedcode": "200", "uninitcode": "200"}
        health = self._expect(self._send("GET", "sys/health", None, None, params=states))
        return VaultStatus(
            str(health.get("version", "")),
            bool(health.get("initialized")),
            bool(health.get("sealed")),
            not health.get("sealed") and not health.get("standby"),
        )

    def close(self) -> None:
        """Close the connections; the token ends by itself when its period is over."""
        self._client.adapter.close()

    # --- the way there -----------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Answer | None = None) -> Answer:
        """One request under this login, `{}` if it has no answer; NotFound for a 404. For the set-up and its tests."""
        return self._expect(self._ask(method, path, body))

    def _encrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, plaintext: bytes) -> str:
        body = {"plaintext": _b64(plaintext), "context": _b64(context.bytes)}
        path = f"transit/encrypt/{purpose}-{tenant_id}"
        answer = self._ask("POST", path, body)
        if answer is _Trouble.REFUSED:
            self.mark(tenant_id, purpose)  # raises TransitKeyMissing if that is why
        return str(self._expect(answer)["data"]["ciphertext"])

    def _decrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> bytes:
        body = {"ciphertext": sealed.text, "context": _b64(context.bytes)}
        return b64decode(self._transit("decrypt", tenant_id, purpose, body)["plaintext"])

    def _transit(self, operation: str, tenant_id: TenantId, purpose: Purpose, body: Answer) -> Answer:
        answer = self._ask("POST", f"transit/{operation}/{purpose}-{tenant_id}", body)
        if answer is _Trouble.ABSENT:
            raise TransitKeyMissing("the vault has no transit mount")
        data: Answer = self._expect(answer)["data"]
        return data

    def _ask(self, method: str, path: str, body: Answer | None = None) -> Answer | _Trouble:
        token = self._valid_token()
        if isinstance(token, _Trouble):
            return token
        answer = self._send(method, path, body, token)
        if answer is _Trouble.REFUSED:  # a token that ran out or was revoked looks like a right that is missing
            token = self._log_in(instead_of=token)
            answer = token if isinstance(token, _Trouble) else self._send(method, path, body, token)
        return answer

    def _valid_token(self) -> _Token | _Trouble:
        token = self._token
        if token is None:
            return self._log_in(instead_of=None)
        if time.monotonic() >= token.renew_at and self._lock.acquire(blocking=False):  # one renews, the others go on
            try:
                answer = self._send("POST", "auth/token/renew-self", {}, token)
                if not isinstance(answer, _Trouble):
                    self._token = token = _token_of(answer)
                elif answer in {_Trouble.SLOW, _Trouble.UNREACHABLE}:
                    return answer
            finally:
                self._lock.release()
        return token

    def _log_in(self, instead_of: _Token | None) -> _Token | _Trouble:
        with self._lock:
            if self._token is not None and self._token is not instead_of:
                return self._token  # another thread was here first
            if isinstance(self._login, TokenLogin):
                self._token = _Token(self._login.token, renew_at=float("inf"))
                return self._token
            body = {"role_id": self._login.role_id, "secret_id": self._login.secret_id}
            patient_until = time.monotonic() + self._patience
            answer = self._send("POST", "auth/approle/login", body, None)
            while answer is _Trouble.STARTING and time.monotonic() < patient_until:
                time.sleep(_POLL_SECONDS)
                answer = self._send("POST", "auth/approle/login", body, None)
            if not isinstance(answer, _Trouble):
                self._token = _token_of(answer)
                return self._token
            return answer

    def _send(
        self, method: str, path: str, body: Answer | None, token: _Token | None, params: dict[str, str] | None = None
    ) -> Answer | _Trouble:
        headers = {"X-Vault-Token": token.text} if token else {}
        try:
            answer = self._client.adapter.request(
                method, f"/v1/{path}", headers=headers, json=body, params=params, timeout=self._timeout
            )
        except VaultError as exc:
            return _trouble(exc)
        except requests.Timeout:
            return _Trouble.SLOW
        except requests.ConnectionError:
            return _Trouble.UNREACHABLE
        except (requests.RequestException, ValueError):
            return _Trouble.OTHER
        if isinstance(answer, dict):
            return answer
        return {} if answer.status_code == requests.codes.no_content else _Trouble.OTHER

    @staticmethod
    def _expect(answer: Answer | _Trouble) -> Answer:
        if isinstance(answer, _Trouble):
            raise _ERRORS.get(answer, VaultUnavailable)(answer.value)
        return answer


def _trouble(exc: VaultError) -> _Trouble:
    says = " ".join(map(str, exc.errors or [])) or str(exc.text or "")
    for text, trouble in _SAYS.items():
        if text in says:
            return trouble
    if isinstance(exc, Forbidden):
        return _Trouble.REFUSED
    if isinstance(exc, VaultDown):
        return _Trouble.SEALED
    return _Trouble.ABSENT if isinstance(exc, InvalidPath) and exc.json is not None else _Trouble.OTHER


def _token_of(answer: Answer) -> _Token:
    auth = answer["auth"]
    return _Token(str(auth["client_token"]), time.monotonic() + int(auth["lease_duration"]) * 2 / 3)


def _key_path(tenant_id: TenantId, purpose: Purpose) -> str:
    return f"transit/keys/{purpose}-{tenant_id}"


def _b64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
