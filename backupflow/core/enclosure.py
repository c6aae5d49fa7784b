"""What else is sealed of a device beside its exports: with a label that says what it is, so that swaps are found."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from backupflow.errors import MessageMalformed

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId, Seq, TenantId

_MAGIC: Final = b"backupflow-enclosure/1\n"  # no export begins so: one is never taken for the other
_LONGEST_LABEL: Final = 1000  # bytes


class What(StrEnum):
    """The kinds of texts that are enclosed."""

    CHANGES = "changes"
    DIFF = "diff"
    LOG = "log"  # of a router, of who changed it
    EVENT = "event"  # what is told of a change


@dataclass(frozen=True, slots=True)
class Label:
    """Which text it is: of which observation, and against which one; `after_seq` 0: against none."""

    tenant_id: TenantId
    device_id: DeviceId
    seq: Seq
    after_seq: Seq
    what: What


def enclose(label: Label, body: bytes) -> bytes:
    """Label and deflated body as one plaintext."""
    return _MAGIC + _written(label) + b"\n" + zlib.compress(body)


def enclosed(plaintext: bytes, label: Label, max_bytes: int) -> bytes:
    """Give the body back; MessageMalformed if its label is another, it is damaged, or inflates above `max_bytes`."""
    if not plaintext.startswith(_MAGIC):
        raise MessageMalformed("not an enclosure")
    end = plaintext.find(b"\n", len(_MAGIC), len(_MAGIC) + _LONGEST_LABEL)
    if plaintext[len(_MAGIC) : end] != _written(label):
        raise MessageMalformed("its sealed label names another device, observation or kind")
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(memoryview(plaintext)[end + 1 :], max_bytes + 1)
    except zlib.error as exc:
        raise MessageMalformed("damaged enclosure") from exc
    if len(body) > max_bytes or not inflater.eof or inflater.unused_data:
        raise MessageMalformed("enclosure of a wrong length")
    return body


def _written(label: Label) -> bytes:
    """One spelling for each label: two are equal if and only if these are."""
    return json.dumps(asdict(label), sort_keys=True, default=str).encode("ascii")
