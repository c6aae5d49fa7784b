"""Targets over what comes back from the bus and out of the vault: a message, and the envelope in it."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Final
from uuid import UUID

from backupflow.core import envelope, message
from backupflow.core.model import DeviceId, NormalConfig, RawConfig, Seq, TenantId
from backupflow.errors import MessageMalformed
from tools.fuzz.harness import Target, law

_MOST: Final = 64 * 1024  # bytes that an envelope may inflate to
_LONGEST: Final = 8192  # bytes of an input
_LONGEST_DETAIL: Final = 200
_TENANT, _DEVICE = UUID(int=1), UUID(int=2)
_MAGIC: Final = b"backupflow/1\n"
_DIGEST: Final = "0" * 64
_TEXT: Final = b"# by RouterOS 7.14\n/ip address\nadd address=192.0.2.1/24\n"

_FIELDS: Final[dict[str, object]] = {
    "schema_version": 1,
    "tenant_id": str(_TENANT),
    "device_id": str(_DEVICE),
    "collection_id": 7,
    "seq": 3,
    "normalization_version": 1,
    "content_hash": _DIGEST,
    "sealed": "vault:v1:AAAA",
}
_HEADER: Final[dict[str, object]] = {
    "tenant": str(_TENANT),
    "device": str(_DEVICE),
    "seq": 3,
    "normalization_version": 1,
    "raw_sha256": _DIGEST,
    "normal_sha256": _DIGEST,
}
_ODD: Final[tuple[object, ...]] = (0, -1, 2**63, 1e999, 0.5, True, None, "", "x", [], {}, [1], {"a": 1}, "\ud800", "\0")


def _message_seeds() -> tuple[bytes, ...]:
    odd = [bytes((place,)) + json.dumps(value).encode() for place in range(len(_FIELDS)) for value in _ODD]
    odd += [bytes((place,)) + json.dumps(value).encode() for place, value in enumerate(_FIELDS.values())]
    deep = [b"[" * 3000, b'{"a":' * 1500, b"9" * 5000, b"\xff\xfe[\x00]\x00", b"NaN", b"{}", b""]
    return (json.dumps(_FIELDS).encode(), *deep, *odd)


def substituted(data: bytes, whole: dict[str, object]) -> bytes:
    """Take an input that begins with a small byte as the text of one field's value, the others being as they should."""
    names = list(whole)
    if not data or data[0] >= len(names):
        return data
    others = {name: value for name, value in whole.items() if name != names[data[0]]}
    return json.dumps(others).encode()[:-1] + b', "' + names[data[0]].encode() + b'": ' + data[1:] + b"}"


def decoded(data: bytes) -> None:
    """It is malformed, or it is a message that is written and read without change."""
    try:
        first = message.decode(substituted(data, _FIELDS))
    except MessageMalformed as exc:
        _quotes_nothing(exc)
        return
    written = message.encode(first)
    law(message.decode(written) == first, "a message comes back from its written form")
    law(first.subject.isprintable() and " " not in first.subject, "a subject is one word")


def _quotes_nothing(exc: MessageMalformed) -> None:
    law(len(str(exc)) <= _LONGEST_DETAIL and str(exc).isprintable(), "a refusal is of our own words")


def unpacked(data: bytes) -> None:
    """It is malformed, or a header and a bounded text; an input is a plaintext, or a head and what to deflate."""
    if data.startswith(_MAGIC):
        _unpack(data)
        return
    head, _, body = data.partition(b"\n")
    head = substituted(head, _HEADER)
    _unpack(_MAGIC + head + b"\n" + zlib.compress(body, 1))
    good = {"raw_sha256": hashlib.sha256(body).hexdigest()}
    try:
        fields = json.loads(head)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        _unpack(_MAGIC + json.dumps(fields | good).encode() + b"\n" + zlib.compress(body, 1))
    packed = envelope.pack((TenantId(_TENANT), DeviceId(_DEVICE), Seq(1)), RawConfig(body), NormalConfig(head), 1)
    header, raw = envelope.unpack(packed, _MOST)
    law(raw == body and header.seq == 1, "what is packed is unpacked")


def _unpack(data: bytes) -> None:
    try:
        header, raw = envelope.unpack(data, _MOST)
    except MessageMalformed as exc:
        _quotes_nothing(exc)
        return
    law(len(raw) <= _MOST, "an export is bounded")
    law(hashlib.sha256(raw).hexdigest() == header.raw_sha256, "an export has its header's digest")


def _envelope_seeds() -> tuple[bytes, ...]:
    owner = TenantId(_TENANT), DeviceId(_DEVICE), Seq(3)
    whole = envelope.pack(owner, RawConfig(_TEXT), NormalConfig(b"x"), 1)
    odd = [bytes((place,)) + json.dumps(odd).encode() + b"\n" + _TEXT for place in range(len(_HEADER)) for odd in _ODD]
    bomb = _MAGIC + json.dumps(_HEADER).encode() + b"\n" + zlib.compress(bytes(4_000_000), 9)
    return (whole, whole[:-3], whole + b"x", bomb, b"[" * 3000 + b"\n", b'{"a":' * 1500, b"9" * 5000, b"", *odd)


_NAMES: Final = tuple(f'"{name}":'.encode() for name in (*_FIELDS, "tenant", "device", "raw_sha256", "normal_sha256"))
_JSON: Final = (
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"NaN",
    b"Infinity",
    b'"\\ud800"',
    b"[",
    b"{",
    b'"',
    b"vault:v1:",
    b"\\u0000",
)
TARGETS: Final = (
    Target("message", decoded, _message_seeds(), (*_NAMES, *_JSON), longest=_LONGEST),
    Target("envelope", unpacked, _envelope_seeds(), (*_NAMES, *_JSON, _MAGIC), longest=_LONGEST),
)
