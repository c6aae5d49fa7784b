"""Where events go: a command, or an address that takes a POST."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from backupflow.errors import InputInvalid

_PORTS = {"https": 443, "http": 80}
_LAST_PORT = 65_535
_NONE = "not an address such as https://alerts.example.net/backupflow"
_WEB = re.compile(
    r"(?i)(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?][a-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?"
)


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments; no shell reads them."""

    words: tuple[str, ...]

    @property
    def shown(self) -> str:
        """For a person: an argument may be somebody's secret, although it should not."""
        return f"command {self.words[0]}"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that takes a POST."""

    scheme: str
    host: str
    port: int
    path: str  # with what follows it

    @property
    def shown(self) -> str:
        """For a person, without its path: of some receivers that is a secret."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


Target = Command | Address


def target(text: str) -> Target | None:
    """What the setting says; None if it is empty. InputInvalid, without the text, if it is neither."""
    text = text.strip()
    if not text:
        return None
    if "://" in text.split(maxsplit=1)[0]:
        return _address(text)
    try:
        words = tuple(shlex.split(text))
    except ValueError as exc:
        raise InputInvalid(f"a command that cannot be read: {exc}") from None
    if not words or not words[0] or not text.isprintable():
        raise InputInvalid("no command was named, or it has a control character")
    return Command(words)


def _address(text: str) -> Address:
    """By the rules of RFC 3986, as far as an address of a web server needs them."""
    found = _WEB.fullmatch(text)
    if found is None:
        wrong = "an address with a login in it: events are signed instead" if "@" in text.split("/")[2] else _NONE
        raise InputInvalid(wrong)
    scheme, host = found["scheme"].lower(), found["host"].strip("[]").lower()
    port = int(found["port"] or _PORTS[scheme])
    if not 0 < port <= _LAST_PORT:
        raise InputInvalid(_NONE)
    path = found["path"] or ""
    return Address(scheme, host, port, path if path.startswith("/") else f"/{path}")
