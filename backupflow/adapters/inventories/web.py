"""Asking another system over HTTPS: bounded in time and size, and its token goes to that one address only.

Nothing of the environment counts: a proxy or a `.netrc` that stands there by chance would see the token, or replace it.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
import urllib3

from backupflow.errors import InputInvalid, InventoryUnavailable

if TYPE_CHECKING:
    from pathlib import Path

CONNECT_SECONDS, READ_SECONDS, ANSWER_SECONDS = 10.0, 30.0, 120.0  # to connect, between two pieces, for one answer
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes, unpacked; 100,000 devices of NetBox in pages of 1,000 have less each
_LONGEST_TOKEN = 1000
_PIECE = 65_536
_REDIRECTS = range(300, 400)


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask, and as whom."""

    url: str  # without anything after its path
    token: str = field(repr=False)
    ca_file: Path | None = None  # None: the authorities that come with requests
    answer_seconds: float = ANSWER_SECONDS
    largest_answer: int = LARGEST_ANSWER

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port."""
        return _origin(self.url)


def server(url: str, token: str, ca_file: Path | None = None, *, plain_http: bool = False) -> Server:
    """A server that may be asked; InputInvalid if its address or the token cannot be one."""
    try:
        parts = urlsplit(url.strip())
        scheme, host, _ = _origin(url.strip())
    except ValueError:
        raise InputInvalid("not an address such as https://netbox.example.net") from None
    if scheme not in {"https", "http"} or not host or parts.query or parts.fragment:
        raise InputInvalid("not an address such as https://netbox.example.net")
    if parts.username is not None or parts.password is not None:
        raise InputInvalid("an address with a login in it: others see it on the command line; use the token")
    if scheme == "http" and not plain_http and not _is_here(host):
        raise InputInvalid("over http the token can be read on the way: give an address with https, or --plain-http")
    if not token.isascii() or not token.isprintable() or " " in token or not 0 < len(token) <= _LONGEST_TOKEN:
        raise InputInvalid("the token cannot be one: it has blanks, control characters, or too many")
    if ca_file is not None and not ca_file.is_file():
        raise InputInvalid(f"{ca_file} is not a file of certificates")
    return Server(url.strip().rstrip("/"), token, ca_file)


class BoundedSession(requests.Session):
    """A session that asks one server only, follows nothing, and reads no more than it may."""

    def __init__(self, asked: Server) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = str(asked.ca_file) if asked.ca_file else True
        self._asked = asked

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as requests has it
        """requests.Session.send; InventoryUnavailable for all that goes wrong."""
        if _origin(request.url or "") != self._asked.origin:
            raise InventoryUnavailable("it names another address for what follows; give that one, if it is right")
        try:
            until = time.monotonic() + self._asked.answer_seconds
            asked = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "stream": True, "allow_redirects": False}
            response = super().send(request, **(kwargs | asked))
            with response:
                response._content = self._read(response, until)  # noqa: SLF001 - requests has no bound of its own
                response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as exc:
            raise InventoryUnavailable(_why(exc)) from exc
        if response.status_code in _REDIRECTS:
            raise InventoryUnavailable("it sends elsewhere (a redirect): give the address that it really has")
        return response

    def _read(self, response: requests.Response, until: float) -> bytes:
        pieces, size = [], 0
        while piece := response.raw.read1(_PIECE, decode_content=True):
            size += len(piece)
            if size > self._asked.largest_answer:
                raise InventoryUnavailable(f"its answer has more than {self._asked.largest_answer} bytes")
            if time.monotonic() > until:
                raise InventoryUnavailable(f"its answer took longer than {self._asked.answer_seconds:.0f} s")
            pieces.append(piece)
        return b"".join(pieces)


def refused(status: int) -> InventoryUnavailable:
    """What an answer that is none means; its text is not repeated."""
    if status in {401, 403}:
        return InventoryUnavailable(f"it refuses the token (HTTP {status})")
    if status == 404:  # noqa: PLR2004 - RFC 9110
        return InventoryUnavailable("there is no such page (HTTP 404): check the address")
    return InventoryUnavailable(f"it answers with HTTP {status}")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why(exc: Exception) -> str:
    """In words of ours: those of the libraries hold addresses with all that was asked."""
    match exc:
        case requests.exceptions.SSLError():
            return "its certificate is not trusted: name the authority with --ca-file"
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "it did not answer in time"
        case requests.ConnectionError():
            return "no connection"
        case _:
            return "its answer broke off, or is none"
