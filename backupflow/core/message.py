"""The bus message <-> bytes. Everything in it is checked again against the row it names: a message is not trusted.

A message has one form, the one that `encode` writes: whatever differs from it by a byte is none, though a lenient
reader might find the same fields in it. So no two parties can read two things in one message.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from uuid import UUID

from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

SCHEMA_VERSION = 1
SUBJECT_PREFIX = "config.snapshot.create"
HASH_BYTES = 32
MAX_BYTES = 8 * 1024 * 1024 - 512  # of an encoded message: what the stream takes of one, less its headers
_MOST_VALUES = 64  # of a message of ours, with room for schemas to come: 8 MiB of `[],` would be 180 MB once parsed
_VERSION = re.compile(rb'"schema_version"\s*:\s*([0-9]{1,9})\s*[,}]')
_HEAD_BYTES = 1000  # in which a message says of what schema it is


@dataclass(frozen=True, slots=True)
class SnapshotMessage:
    """One sealed observation on its way from a collector to the ingester."""

    tenant_id: TenantId
    device_id: DeviceId
    collection_id: CollectionId
    seq: Seq
    normalization_version: int
    content_hash: ContentHash
    sealed: SealedConfig

    @property
    def message_id(self) -> str:
        """`device:seq`: the same for a repeated publish, never the same for two observations."""
        return f"{self.device_id}:{self.seq}"

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"{SUBJECT_PREFIX}.{self.device_id}"


def encode(message: SnapshotMessage) -> bytes:
    """JSON, UTF-8."""
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "tenant_id": str(message.tenant_id),
            "device_id": str(message.device_id),
            "collection_id": message.collection_id,
            "seq": message.seq,
            "normalization_version": message.normalization_version,
            "content_hash": message.content_hash.hex(),
            "sealed": message.sealed.text,
        }
    ).encode()


def decode(payload: bytes) -> SnapshotMessage:
    """Read a message; MessageMalformed, without any of its content, if it is not exactly one."""
    stated = _VERSION.search(payload[:_HEAD_BYTES])
    if stated and int(stated[1]) != SCHEMA_VERSION:
        raise MessageMalformed("unknown schema version")
    if payload.count(b"{") + payload.count(b"[") + payload.count(b",") > _MOST_VALUES:
        raise MessageMalformed("not a snapshot message")
    try:
        fields = json.loads(payload)
        message = SnapshotMessage(
            TenantId(UUID(fields["tenant_id"])),
            DeviceId(UUID(fields["device_id"])),
            CollectionId(_positive(fields["collection_id"])),
            Seq(_positive(fields["seq"])),
            _positive(fields["normalization_version"]),
            ContentHash(bytes.fromhex(fields["content_hash"])),
            SealedConfig(fields["sealed"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise MessageMalformed("not a snapshot message") from exc
    if len(message.content_hash) != HASH_BYTES:
        raise MessageMalformed("a hash of a wrong length")
    if encode(message) != payload:  # a field twice or too many, another encoding, other spaces, a number as a float
        raise MessageMalformed("not in the form that a collector writes")
    return message


def _positive(value: object) -> int:
    if type(value) is not int or not 0 < value < 2**63:
        raise MessageMalformed("a number out of range")
    return value
