"""The bus message <-> bytes. Everything in it is checked again against the row it names: a message is not trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

SCHEMA_VERSION = 1
SUBJECT_PREFIX = "config.snapshot.create"
HASH_BYTES = 32
MAX_BYTES = 8 * 1024 * 1024 - 512  # of an encoded message: what the stream takes of one, less its headers


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
    try:
        fields = json.loads(payload)
        version = fields["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MessageMalformed("not a snapshot message") from exc
    if version != SCHEMA_VERSION:
        raise MessageMalformed("unknown schema version")
    try:
        message = SnapshotMessage(
            TenantId(UUID(fields["tenant_id"])),
            DeviceId(UUID(fields["device_id"])),
            CollectionId(_positive(fields["collection_id"])),
            Seq(_positive(fields["seq"])),
            _positive(fields["normalization_version"]),
            ContentHash(bytes.fromhex(fields["content_hash"])),
            SealedConfig(fields["sealed"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise MessageMalformed("a field is missing or wrong") from exc
    if len(message.content_hash) != HASH_BYTES:
        raise MessageMalformed("a hash of a wrong length")
    return message


def _positive(value: object) -> int:
    if type(value) is not int or not 0 < value < 2**63:
        raise MessageMalformed("a number out of range")
    return value
