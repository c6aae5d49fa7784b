"""Members as a tar, and back, one after the other."""

from __future__ import annotations

import tarfile
from typing import IO, TYPE_CHECKING

from backupflow.core.system_backup import PART_BYTES, Member
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

_BLOCK = tarfile.BLOCKSIZE


def tar_of(members: Iterable[Member], made_at: datetime) -> Iterator[bytes]:
    """The bytes of a tar (POSIX ustar) that any tar opens; its files are their owner's alone."""
    for member in members:
        head = tarfile.TarInfo(member.name)
        head.size, head.mode, head.mtime = len(member.data), 0o600, int(made_at.timestamp())
        yield head.tobuf(tarfile.USTAR_FORMAT)
        yield member.data
        yield bytes(-len(member.data) % _BLOCK)
    yield bytes(2 * _BLOCK)


def members_of(stream: IO[bytes]) -> Iterator[Member]:
    """The members of such a tar; InputInvalid if it holds anything that no backup does."""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for head in tar:
                if not head.isreg() or head.size > PART_BYTES:
                    raise InputInvalid(f"it is no backup of a system: it holds {head.name[:80]!r}")
                content = tar.extractfile(head)
                data = content.read() if content else b""
                if len(data) != head.size:
                    raise InputInvalid("it ends in the middle of a part")
                yield Member(head.name, data)
    except tarfile.TarError:
        raise InputInvalid("it is no backup of a system: there is no tar in it") from None
    while stream.read(PART_BYTES):  # what seals it is proven to its end
        pass
