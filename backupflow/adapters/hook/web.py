"""An address that takes events: one POST each, signed as Standard Webhooks; nothing is followed, all is bounded.

Nothing of the environment counts but the authorities that certificates are trusted by: no proxy, no `.netrc`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from standardwebhooks import Webhook

from backupflow.core.delivery import Answer
from backupflow.core.event_body import masked, webhook_id
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

    from backupflow.core.hook_target import Address

SECONDS = 20.0  # for all of it
SILENT_SECONDS = 10.0  # between two pieces
_READ = 2048  # bytes of an answer; nobody needs more
_SHOWN = 120
_DELIVERED, _REDIRECTS = range(200, 300), range(300, 400)
_GONE = 410
_MAY_ASK_TO_WAIT = {429, 503}


class WebHook:
    """core.ports.Hook. `secrets` gives those to sign with, each time anew: they may be exchanged at any time."""

    def __init__(
        self,
        address: Address,
        secrets: Callable[[], Sequence[str]],
        ca_file: Path | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._address = address
        self._secrets = secrets
        self._ca_file = ca_file
        self._seconds = seconds

    def deliver(self, event_id: UUID, body: str) -> Answer:
        """Post it once; delivered if the answer is 2xx."""
        hurry = _Hurry(self._seconds)
        try:
            headers = self._headers(webhook_id(event_id), body)
            with hurry.hurried(self._connection()) as connection:
                connection.request("POST", self._address.path, body.encode("ascii"), headers)
                with connection.getresponse() as response:
                    if hurry.is_over:  # what it was cut off in looks like an answer
                        raise TimeoutError
                    return _answer(response.status, response.getheader("Retry-After"), response)
        except SettingsInvalid as exc:
            return Answer(delivered=False, says=exc.detail)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            return Answer(delivered=False, says=_why(exc, in_vain=hurry.is_over))

    def _headers(self, ident: str, body: str) -> dict[str, str]:
        at = datetime.now(UTC)
        signatures = [Webhook(secret).sign(ident, at, body) for secret in self._secrets()]
        return {
            "Content-Type": "application/json",
            "User-Agent": "backupflow",
            "Connection": "close",
            "webhook-id": ident,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signatures),
        }

    def _connection(self) -> http.client.HTTPConnection:
        to = self._address
        if to.scheme == "http":
            return http.client.HTTPConnection(to.host, to.port, timeout=SILENT_SECONDS)
        try:
            context = ssl.create_default_context(cafile=self._ca_file)
            if self._ca_file is None:
                context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        except OSError:
            raise SettingsInvalid("CONFIG_ON_EVENT_CA is no file of certificates") from None
        return http.client.HTTPSConnection(to.host, to.port, timeout=SILENT_SECONDS, context=context)


@dataclass
class _Hurry:
    """Ends a connection from outside: one that gives a byte now and then never runs into a time-out of its own."""

    seconds: float
    is_over: bool = False

    @contextmanager
    def hurried(self, connection: http.client.HTTPConnection) -> Iterator[http.client.HTTPConnection]:
        """The same connection, closed at the end, or when it took too long."""
        opened: list[socket.socket] = []

        def open_it(*args: object, **kwargs: object) -> socket.socket:
            made = socket.create_connection(*args, **kwargs)  # type: ignore[arg-type]
            opened.append(made.dup())  # TLS takes the first one over; both are the same connection
            return made

        def end() -> None:
            self.is_over = True
            for one in opened:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        connection._create_connection = open_it  # type: ignore[attr-defined]  # noqa: SLF001 - there is no other way in
        timer = threading.Timer(self.seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            timer.join()
            connection.close()
            for one in opened:
                one.close()


def _begin(response: http.client.HTTPResponse) -> str:
    """What an answer begins with: only its status counts, and that has come."""
    with suppress(OSError, http.client.HTTPException):
        return response.read(_READ).decode(errors="replace")
    return ""


def _answer(status: int, asks_to_wait: str | None, response: http.client.HTTPResponse) -> Answer:
    if status in _DELIVERED:
        return Answer(delivered=True, says=f"HTTP {status}")
    if status in _REDIRECTS:
        return Answer(
            delivered=False, says=f"HTTP {status}: it sends elsewhere; set CONFIG_ON_EVENT to the address that it has"
        )
    wait = _wait(asks_to_wait) if status in _MAY_ASK_TO_WAIT else None
    said = masked(_begin(response), _SHOWN)
    return Answer(delivered=False, says=f"HTTP {status}", gone=status == _GONE, wait=wait, quoted=said)


def _wait(text: str | None) -> timedelta | None:
    """Seconds, or a date (RFC 9110, section 10.2.3); anything else says nothing."""
    try:
        if text is None or text.isdecimal():
            return timedelta(seconds=int(text)) if text else None
        return max(parsedate_to_datetime(text) - datetime.now(UTC), timedelta(0))
    except (ValueError, TypeError, OverflowError):
        return None


def _why(exc: Exception, *, in_vain: bool) -> str:
    """In words of ours: those of the libraries hold the address with all that follows it."""
    match exc:
        case _ if in_vain or isinstance(exc, TimeoutError):
            return "it did not answer in time"
        case ssl.SSLCertVerificationError():
            return "its certificate is not trusted: name the authority with CONFIG_ON_EVENT_CA"
        case ssl.SSLError():
            return "no TLS connection"
        case ConnectionError() | http.client.HTTPException():
            return "the connection was refused, or broke off"
        case socket.gaierror():
            return "its name cannot be resolved"
        case _:
            return "no connection"
