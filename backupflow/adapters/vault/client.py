"""A logged-in client of OpenBao: login, renewal, one more login after a 403, and its failures as ours.

What hvac and requests raise holds the body of the request, a plaintext or a secret id: it is translated and dropped,
and ours is raised outside the handler, so that no chain of exceptions leads to it.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import hvac
import requests
from hvac.exceptions import VaultError
from requests.adapters import HTTPAdapter

from backupflow.adapters.vault.trouble import Trouble, failure, trouble_of, trouble_of_connection
from backupflow.errors import VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Answer = dict[str, Any]
_POLL_SECONDS = 0.1
STREAM_SECONDS = 300.0  # for each wait: what is large is read whole before it is answered to


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


class VaultClient:
    """One HTTP session and one token, shared by the threads of a process; made after fork.

    `timeout` bounds the connect and each wait for bytes; `patience` how long a starting node is waited for at a login;
    `pool` is how many threads call at once; `ca` a file with the authorities that an https address is
    trusted by, None: those of the library.
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
        self.noted: Callable[[str], None] = lambda _code: None  # told after each call what failed; empty: nothing
        session = requests.Session()
        session.trust_env = False  # no proxy and no netrc of whoever starts the process
        session.verify = ca or True
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=pool))
        # An empty token and no redirects: hvac would read ~/.vault-token, requests would carry the token elsewhere.
        self._client = hvac.Client(url=addr, token="", session=session, allow_redirects=False)

    def call(self, method: str, path: str, body: Answer | None = None) -> Answer:
        """One request under this login, `{}` if it has no answer; NotFound for a 404. For the set-up and its tests."""
        return expect(self.ask(method, path, body))

    def status(self) -> VaultStatus:
        """Version and state, without a login; VaultUnavailable if nobody answers."""
        states = {"standbyok": "true", "sealedcode": "200", "uninitcode": "200"}
        health = expect(self._send("GET", "sys/health", None, None, params=states))
        return VaultStatus(
            str(health.get("version", "")),
            bool(health.get("initialized")),
            bool(health.get("sealed")),
            not health.get("sealed") and not health.get("standby"),
        )

    @contextmanager
    def stream(self, method: str, path: str, body: Iterable[bytes] | None) -> Iterator[requests.Response]:
        """One request under this login whose body or answer is of any length, read as it comes; any status is given.

        VaultUnavailable if nobody answers, or the connection ends before the answer does.
        """
        token = self._valid_token()
        if isinstance(token, Trouble):
            raise failure(token)
        trouble: Trouble | None = None
        try:
            with self._client.session.request(
                method, f"{self._client.url}/v1/{path}", headers={"X-Vault-Token": token.text}, data=body, stream=True,
                timeout=(self._timeout, STREAM_SECONDS), allow_redirects=False,
            ) as answer:  # fmt: skip
                yield answer
        except requests.Timeout:
            trouble = Trouble.SLOW
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as exc:
            trouble = trouble_of_connection(str(exc))
        if trouble is not None:
            raise failure(trouble)

    def close(self) -> None:
        """Close the connections; the token ends by itself when its period is over."""
        self._client.adapter.close()

    def ask(self, method: str, path: str, body: Answer | None = None) -> Answer | Trouble:
        """One request under this login, or why there is no answer to it."""
        answer = self._ask(method, path, body)
        away = isinstance(answer, Trouble) and isinstance(failure(answer), VaultUnavailable)
        self.noted(VaultUnavailable.code if away else "")  # a key that is missing is an answer, too
        return answer

    def _ask(self, method: str, path: str, body: Answer | None) -> Answer | Trouble:
        token = self._valid_token()
        if isinstance(token, Trouble):
            return token
        answer = self._send(method, path, body, token)
        if answer is Trouble.REFUSED:  # a token that ran out or was revoked looks like a right that is missing
            token = self._log_in(instead_of=token)
            answer = token if isinstance(token, Trouble) else self._send(method, path, body, token)
        return answer

    def _valid_token(self) -> _Token | Trouble:
        token = self._token
        if token is None:
            return self._log_in(instead_of=None)
        if time.monotonic() >= token.renew_at and self._lock.acquire(blocking=False):  # one renews, the others go on
            try:
                answer = self._send("POST", "auth/token/renew-self", {}, token)
                if not isinstance(answer, Trouble):
                    self._token = token = _token_of(answer)
                elif answer in {Trouble.SLOW, Trouble.UNREACHABLE}:
                    return answer
            finally:
                self._lock.release()
        return token

    def _log_in(self, instead_of: _Token | None) -> _Token | Trouble:
        with self._lock:
            if self._token is not None and self._token is not instead_of:
                return self._token  # another thread was here first
            if isinstance(self._login, TokenLogin):
                self._token = _Token(self._login.token, renew_at=float("inf"))
                return self._token
            body = {"role_id": self._login.role_id, "secret_id": self._login.secret_id}
            patient_until = time.monotonic() + self._patience
            answer = self._send("POST", "auth/approle/login", body, None)
            while answer is Trouble.STARTING and time.monotonic() < patient_until:
                time.sleep(_POLL_SECONDS)
                answer = self._send("POST", "auth/approle/login", body, None)
            if not isinstance(answer, Trouble):
                self._token = _token_of(answer)
                return self._token
            return answer

    def _send(
        self, method: str, path: str, body: Answer | None, token: _Token | None, params: dict[str, str] | None = None
    ) -> Answer | Trouble:
        headers = {"X-Vault-Token": token.text} if token else {}
        try:
            answer = self._client.adapter.request(
                method, f"/v1/{path}", headers=headers, json=body, params=params, timeout=self._timeout
            )
        except VaultError as exc:
            return trouble_of(exc)
        except requests.Timeout:
            return Trouble.SLOW
        except requests.ConnectionError as exc:
            return trouble_of_connection(str(exc))
        except (requests.RequestException, ValueError):
            return Trouble.OTHER
        if isinstance(answer, dict):
            return answer
        return {} if answer.status_code == requests.codes.no_content else Trouble.OTHER


def _token_of(answer: Answer) -> _Token:
    auth = answer["auth"]
    return _Token(str(auth["client_token"]), time.monotonic() + int(auth["lease_duration"]) * 2 / 3)


def expect(answer: Answer | Trouble) -> Answer:
    """Raise what a trouble means; outside of every handler, so that nothing hangs on it."""
    if isinstance(answer, Trouble):
        raise failure(answer)
    return answer
