"""What is told of one change of a device: its counts in clear, and its lines, which are sealed until they are sent.

The lines are summaries in which every secret is masked (core.summary); they are of a configuration all the same, and
so they lie nowhere in clear: only who sends the event opens them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from backupflow.core.enclosure import Label, What, enclose, enclosed
from backupflow.core.model import Seq
from backupflow.errors import MessageMalformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import DeviceId, TenantId

LINES: Final = 20  # that are told of one change, here and in `history`; one more says where the rest is
LONGEST_LINE: Final = 300  # characters
# What is interpreted later than that, or again, is of a past of which nobody wants to be told now.
TOLD_WITHIN: Final = timedelta(days=1)
_TOLD: Final = frozenset({"change", "upgrade", "unread"})
_MOST_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ToldChange:
    """One change, as far as it is told in clear. `kind` is that of its interpretation: change, upgrade or unread."""

    kind: str
    seq: Seq
    after_seq: Seq
    changes: int  # without those that are ignored
    ignored: int = 0
    lines_added: int = 0
    lines_removed: int = 0
    components: tuple[str, ...] = ()  # menus, such as ip/firewall/filter


def is_told(kind: str, changes: int) -> bool:
    """Whether anybody is told: not of a first configuration, of an order without meaning, or if all is ignored."""
    return kind in _TOLD and (changes > 0 or kind == "unread")


def told_lines(lines: Sequence[str]) -> list[str]:
    """Those of core.folding, bounded and printable: at most LINES, and one that says where the rest is."""
    return [_bounded(line) for line in lines[: LINES + 1]]


def pack_lines(owner: tuple[TenantId, DeviceId, Seq], lines: Sequence[str]) -> bytes:
    """What is sealed for the device of the change with this seq."""
    return enclose(_label(owner), json.dumps([_bounded(line) for line in lines[: LINES + 1]]).encode())


def unpack_lines(owner: tuple[TenantId, DeviceId, Seq], plaintext: bytes) -> list[str]:
    """Give the lines back; MessageMalformed if it is none of ours, or was sealed for another change."""
    body = enclosed(plaintext, _label(owner), _MOST_BYTES)
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise MessageMalformed("what is to be told of a change is damaged") from exc
    if not isinstance(said, list) or len(said) > LINES + 1:
        raise MessageMalformed("what is to be told of a change is damaged")
    return [_bounded(str(line)) for line in said]


def _label(owner: tuple[TenantId, DeviceId, Seq]) -> Label:
    return Label(*owner, Seq(0), What.EVENT)


def _bounded(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text[: 2 * LONGEST_LINE])
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
