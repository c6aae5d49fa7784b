"""What is sealed: one export with a header that says whose it is, so that swapped ciphertexts are found."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from uuid import UUID

from backupflow.core.model import DeviceId, NormalConfig, RawConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

_MAGIC = b"backupflow/1\n"


@dataclass(frozen=True, slots=True)
class Header:
    """Who the export is of, and the plain SHA-256 of its two texts, shown to those who may open it."""

    tenant_id: TenantId
    device_id: DeviceId
    seq: Seq
    normalization_version: int
    raw_sha256: str
    normal_sha256: str


def pack(
    owner: tuple[TenantId, DeviceId, Seq], raw: RawConfig, normal: NormalConfig, normalization_version: int
) -> bytes:
    """Header and deflated export as one plaintext; deflate first makes all that follows some nine times smaller."""
    tenant_id, device_id, seq = owner
    header = {
        "tenant": str(tenant_id),
        "device": str(device_id),
        "seq": seq,
        "normalization_version": normalization_version,
        "raw_sha256": hashlib.sha256(raw).hexdigest(),
        "normal_sha256": hashlib.sha256(normal).hexdigest(),
    }
    return _MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n" + zlib.compress(raw)


def unpack(plaintext: bytes, max_bytes: int) -> tuple[Header, RawConfig]:
    """Give back header and export; MessageMalformed if it is no envelope, is damaged, or inflates above `max_bytes`."""
    if not plaintext.startswith(_MAGIC):
        raise MessageMalformed("not an envelope")
    head, _, body = plaintext[len(_MAGIC) :].partition(b"\n")
    try:
        fields = json.loads(head)
        header = Header(
            TenantId(UUID(fields["tenant"])),
            DeviceId(UUID(fields["device"])),
            Seq(int(fields["seq"])),
            int(fields["normalization_version"]),
            str(fields["raw_sha256"]),
            str(fields["normal_sha256"]),
        )
        inflater = zlib.decompressobj()
        raw = inflater.decompress(body, max_bytes + 1)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as exc:
        raise MessageMalformed("damaged envelope") from exc
    if len(raw) > max_bytes or not inflater.eof or inflater.unused_data:
        raise MessageMalformed("envelope of a wrong length")
    if hashlib.sha256(raw).hexdigest() != header.raw_sha256:
        raise MessageMalformed("the export does not have its header's digest")
    return header, RawConfig(raw)
