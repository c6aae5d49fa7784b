"""How a server is reached: in clear or by TLS, whose word its certificate is believed on, and why one was refused.

1. With authorities of one's own no address may lead to a connection in clear, and nobody else's word counts.
2. Without them each address says itself, and the machine's authorities count. PostgreSQL's says it by `sslmode`, as
   its own tools have it (www.postgresql.org/docs/17/libpq-ssl.html); only `verify-full` checks whom it talks to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from backupflow.errors import SettingsInvalid

_SCHEMES = {"REDIS_URL": ("redis", "rediss"), "NATS_URL": ("nats", "tls"), "OPENBAO_ADDR": ("http", "https")}
_FULL = "verify-full"
_CHECKED = ("verify-ca", _FULL)
_ENCRYPTED = ("require", *_CHECKED)
_OPTION = re.compile(r"[?&](sslmode|sslrootcert)=([^&]*)")


class Refusal(StrEnum):
    """Why a connection by TLS did not come about; the value is what an operator reads."""

    ANOTHER_NAME = "its certificate is for another name than its address has"
    EXPIRED = "its certificate has expired, or a clock is wrong"
    UNTRUSTED = "its certificate is by no authority that is trusted here (CONFIG_SERVERS_CA)"
    IN_CLEAR = "it does not speak TLS, which its address or CONFIG_SERVERS_CA asks for"
    SILENT = "it did not answer in time: perhaps it does not speak TLS, which its address asks for"


# Pieces of what OpenSSL, Python's ssl and libpq say, the most telling first.
_SAYS = (
    ("does not match host name", Refusal.ANOTHER_NAME),
    ("hostname mismatch", Refusal.ANOTHER_NAME),
    ("ip address mismatch", Refusal.ANOTHER_NAME),
    ("certificate has expired", Refusal.EXPIRED),
    ("certificate is not yet valid", Refusal.EXPIRED),
    ("certificate verify failed", Refusal.UNTRUSTED),
    ("wrong version number", Refusal.IN_CLEAR),
    ("wrong_version_number", Refusal.IN_CLEAR),
    ("server does not support ssl", Refusal.IN_CLEAR),
    ("it does not speak tls", Refusal.IN_CLEAR),
)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whether a connection is encrypted, and the file with the authorities that count; None: the machine's."""

    encrypted: bool
    ca: str | None = None


CLEAR = Trust(encrypted=False)


def trust(variable: str, address: str, ca: str | None) -> Trust:
    """What holds for the server whose address stands in that variable; `ca` is the file of CONFIG_SERVERS_CA.

    SettingsInvalid if the address would lead to a connection in clear although there is such a file.
    """
    if variable == "DATABASE_URL":
        return _of_postgres(address, ca)
    clear, secure = _SCHEMES[variable]
    encrypted = address.partition("://")[0].lower() == secure
    if ca and not encrypted:
        raise SettingsInvalid(f"{variable} begins with {clear}://: with CONFIG_SERVERS_CA it must be {secure}://")
    return Trust(encrypted, ca)


def postgres_options(trusted: Trust, address: str, machine: str | None) -> dict[str, str]:
    """The options of libpq that the address does not have itself; `machine` is the file of the machine's authorities.

    A connection encrypted by Kerberos would not look at any certificate: it is not tried.
    """
    if trusted.ca:
        return {"sslmode": _FULL, "sslrootcert": trusted.ca, "gssencmode": "disable"}
    said = _said(address)
    if said.get("sslmode") in _CHECKED and machine and "sslrootcert" not in said:
        return {"sslrootcert": machine, "gssencmode": "disable"}
    return {}


def refusal(says: str) -> Refusal | None:
    """What a library said of a connection by TLS, in our words, which quote nothing; None: it is not about that."""
    said = says.lower()
    return next((meant for piece, meant in _SAYS if piece in said), None)


def _of_postgres(address: str, ca: str | None) -> Trust:
    said = _said(address)
    mode = said.get("sslmode", "")
    if ca and (mode not in {"", _FULL} or "sslrootcert" in said):
        raise SettingsInvalid(
            f"DATABASE_URL has {', '.join(sorted(said))}: with CONFIG_SERVERS_CA it is {_FULL}, leave it out"
        )
    return Trust(bool(ca) or mode in _ENCRYPTED, ca)


def _said(address: str) -> dict[str, str]:
    return dict(_OPTION.findall(address))
