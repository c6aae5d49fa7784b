"""OpenSSH's file of known host keys (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): who has which key.

`[@marker] names type base64 [comment]`. Names are separated by commas, may have `*` and `?`, and one that begins with
`!` keeps the whole line from those that it matches; or there is one name, hashed: `|1|salt|HMAC-SHA-1`. A port other
than 22 is written `[host]:port`. Names are compared in lower case.

The file is somebody else's: what is read of it is bounded, and what is wrong with a line is said without the line.
"""

from __future__ import annotations

import binascii
import codecs
import hashlib
import hmac
import re
from base64 import b64decode
from dataclasses import dataclass, field
from enum import StrEnum

from backupflow.core.model import HostKey

MOST_BYTES = 4 * 1024 * 1024
LONGEST_LINE = 16 * 1024  # bytes; an RSA key of 16384 bits takes 2,800
LONGEST_NAME = 300  # characters of one; a host name of 253 with its port
MOST_PATTERNS = 500  # names of lines with wildcards or negations: each is held against each device
MOST_FAULTS = 100
SSH_PORT = 22

_HASHED = "|1|"
_DIGEST = hashlib.sha1().digest_size  # noqa: S324 - what the format prescribes; it hides names, and vouches for nothing
_TYPE = re.compile(rb"[A-Za-z0-9@.+-]{1,64}")
_NAMES = re.compile(rb"[!-~]+")


class Marker(StrEnum):
    """What a line says of its key, if not that it is the host's."""

    REVOKED = "@revoked"
    AUTHORITY = "@cert-authority"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line; never what stands in it."""

    line: int
    says: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `names` are in lower case; of a hashed one `salt` and `digest` are set, and it has none."""

    line: int
    names: tuple[str, ...]
    key: HostKey
    marker: Marker | None = None
    salt: bytes = b""
    digest: bytes = b""

    @property
    def plain(self) -> bool:
        """Whether its names can be looked up as they are."""
        return not self.salt and not any(set(name) & set("*?!") for name in self.names)

    def names_host(self, name: str) -> bool:
        """Whether it speaks of the host of that name, as `spoken` writes it."""
        if self.salt:
            return hmac.compare_digest(hmac.digest(self.salt, name.encode(), "sha1"), self.digest)
        found = False
        for pattern in self.names:
            if _matches(pattern.removeprefix("!"), name):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


@dataclass
class KnownHosts:
    """What a file says: whose keys it lists, which are revoked, and the lines that could not be used."""

    faults: list[Fault] = field(default_factory=list)
    authorities: list[int] = field(default_factory=list)  # lines, which are not supported
    revoked: dict[HostKey, int] = field(default_factory=dict)  # key -> line, whoever it was: nobody may have it
    _plain: dict[str, list[Entry]] = field(default_factory=dict)
    _others: list[Entry] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """How many lines list a key of somebody's."""
        lines = {entry.line for entries in self._plain.values() for entry in entries}
        return len(lines) + len(self._others)

    def keys_of(self, host: str, port: int) -> tuple[HostKey, ...]:
        """The keys that it lists for a host, in its order, without those that are revoked."""
        name = spoken(host, port)
        found = [*self._plain.get(name, ()), *(entry for entry in self._others if entry.names_host(name))]
        keys = {entry.key: None for entry in sorted(found, key=lambda entry: entry.line)}
        return tuple(key for key in keys if key not in self.revoked)

    def add(self, entry: Entry) -> None:
        """Take a line in."""
        if entry.marker is Marker.AUTHORITY:
            self.authorities.append(entry.line)
        elif entry.marker is Marker.REVOKED:
            self.revoked.setdefault(entry.key, entry.line)
        elif entry.plain:
            for name in set(entry.names):
                self._plain.setdefault(name, []).append(entry)
        else:
            self._others.append(entry)


def spoken(host: str, port: int) -> str:
    """A host as the file names it."""
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def read(data: bytes) -> KnownHosts:
    """All that it says; no line is trusted to be one."""
    found, patterns = KnownHosts(), 0
    for number, line in enumerate(data[:MOST_BYTES].removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        words = line.strip(b" \t\r")
        if not words or words.startswith(b"#"):
            continue
        try:
            entry = _entry(number, words)
            patterns += 0 if entry.plain else len(entry.names)
            if patterns > MOST_PATTERNS and entry.names and not entry.plain:
                raise ValueError(f"the lines with wildcards have more than {MOST_PATTERNS} names")
        except ValueError as exc:
            found.faults.append(Fault(number, str(exc)))
            if len(found.faults) == MOST_FAULTS:
                break
            continue
        found.add(entry)
    return found


def _entry(number: int, words: bytes) -> Entry:
    if len(words) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    marker = None
    if words.startswith(b"@"):
        first, _, words = words.replace(b"\t", b" ").partition(b" ")
        marker = next((one for one in Marker if one.encode() == first), None)
        if marker is None:
            raise ValueError("a marker that is not known")
    fields = words.split(None, 3)
    if len(fields) < 3:  # noqa: PLR2004 - names, type, key
        raise ValueError("not names, a key type and a key")
    names, key_type, blob = fields[:3]
    if not _NAMES.fullmatch(names) or not _TYPE.fullmatch(key_type):
        raise ValueError("not names and a key type")
    key = HostKey(key_type.decode(), _blob(key_type, blob))
    if names.startswith(b"|"):
        salt, digest = _hashed(names.decode())
        return Entry(number, (), key, marker, salt, digest)
    split = tuple(name.lower() for name in names.decode().split(",") if name)
    if not split or max(len(name) for name in split) > LONGEST_NAME:
        raise ValueError("no names, or too long ones")
    return Entry(number, split, key, marker)


def _blob(key_type: bytes, text: bytes) -> bytes:
    """The key; it begins with its type (RFC 4253, section 6.6), or it is not what the line says that it is."""
    try:
        blob = b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("the key is not base64") from None
    if not blob.startswith(len(key_type).to_bytes(4, "big") + key_type) or len(blob) <= 4 + len(key_type):
        raise ValueError("the key is not of its type")
    return blob


def _hashed(name: str) -> tuple[bytes, bytes]:
    salt, _, digest = name.removeprefix(_HASHED).partition("|")
    try:
        parts = b64decode(salt, validate=True), b64decode(digest, validate=True)
    except binascii.Error:
        parts = b"", b""
    if not name.startswith(_HASHED) or not parts[0] or len(parts[1]) != _DIGEST:
        raise ValueError("a hashed name that cannot be read")
    return parts


def _matches(pattern: str, name: str) -> bool:
    """`*` is any number of characters, `?` is one; each step goes on, so that no pattern takes long."""
    at, here, star, behind = 0, 0, -1, 0
    while here < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, behind, at = at, here, at + 1
        elif at < len(pattern) and pattern[at] in {"?", name[here]}:
            at, here = at + 1, here + 1
        elif star >= 0:
            behind += 1
            at, here = star + 1, behind
        else:
            return False
    return not pattern[at:].strip("*")
