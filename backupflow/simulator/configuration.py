"""A router's configuration as a function of its specification and the edits so far, and the exports it gives.

Nothing is kept but the edits: any revision can be had again, in any process that knows the seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, cast, get_args

from backupflow.errors import InputInvalid
from backupflow.simulator.content import rule, sections
from backupflow.simulator.drawing import address, drawn, place, serial, software_id, word
from backupflow.simulator.extent import Extent, within
from backupflow.simulator.grammar import Body, Item, Section, body, line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from random import Random

    from backupflow.simulator.spec import RouterSpec

EditKind = Literal["address", "comment", "rule-added", "rule-removed", "secret", "revert"]
_VISIBLE: tuple[EditKind, ...] = ("address", "comment", "rule-added", "rule-removed")
_FILTER = "/ip firewall filter"
_KEPT_RULES = 4  # with none left the next edits would have nothing to change


@dataclass(frozen=True, slots=True)
class Edit:
    """One real change: `revision` is the one that it led to, `before` and `after` are logical lines ("" if none)."""

    revision: int
    kind: EditKind
    section: str
    before: str
    after: str


Configuration = tuple[Section, ...]


def edit_kind(spec: RouterSpec, revision: int, wanted: str | None) -> EditKind:
    """The wanted kind, or one drawn from those that a hidden export shows too; raises InputInvalid."""
    if wanted is None:
        return drawn(spec, "edit kind", revision).choice(_VISIBLE)
    if wanted not in get_args(EditKind):
        raise InputInvalid("an edit is one of " + ", ".join(get_args(EditKind)))
    return cast("EditKind", wanted)


def at_revision(spec: RouterSpec, kinds: Sequence[EditKind]) -> tuple[Configuration, list[Edit]]:
    """The configuration after these edits, and what each of them did."""
    states: list[Configuration] = [sections(spec)]
    edits: list[Edit] = []
    for revision, kind in enumerate(kinds, start=1):
        if kind == "revert":
            last = edits[-1] if edits else Edit(0, "revert", "", "", "")
            states.append(states[max(0, revision - 2)])
            edits.append(Edit(revision, kind, last.section, last.after, last.before))
            continue
        after, edit = _edited(spec, states[-1], revision, kind)
        states.append(after)
        edits.append(edit)
    return states[-1], edits


def _edited(spec: RouterSpec, state: Configuration, revision: int, kind: EditKind) -> tuple[Configuration, Edit]:
    dice = drawn(spec, "edit", revision)
    path = {"address": "/ip firewall address-list", "comment": "/ip dhcp-server lease", "secret": "/ppp secret"}.get(
        kind,
        _FILTER,
    )
    items = next(section.items for section in state if section.path == path)
    spot = dice.randrange(1, len(items) + 1) - 1
    before: Item | None = items[spot]
    after: Item | None = None
    if kind == "rule-added":
        before, after = None, rule(dice)
    elif kind == "rule-removed":
        spot = len(items) - 1
        before = items[spot]
        if spot < _KEPT_RULES:
            before, after = None, rule(dice)
    else:
        after = _altered(cast("Item", before), kind, dice)
    tail = items[spot + 1 :] if before else items[spot:]
    changed = Section(path, (*items[:spot], *((after,) if after else ()), *tail))
    new = tuple(changed if section.path == path else section for section in state)
    shown = [line(item, sensitive=True) if item else "" for item in (before, after)]
    return new, Edit(revision, kind, path, *shown)


def _altered(item: Item, kind: EditKind, dice: Random) -> Item:
    key = {"address": "address", "comment": "comment", "secret": "password"}[kind]
    fresh = {"address": address, "comment": place, "secret": word}[kind]
    while (value := fresh(dice)) == item.value(key):
        pass
    return item.having(key, value)


def header(spec: RouterSpec, clock: datetime | None) -> str:
    """The first lines of an export; without a clock the date is left out, which is the canonical form."""
    date = f"{clock_text(spec, clock)} " if clock else ""
    first = f"# {date}by RouterOS {spec.version}"
    if spec.model == "CHR":
        if spec.release >= (7, 17):
            rest = [f"# system id = {software_id(spec)[:4]}/t+{software_id(spec)[5:]}", "#"]
        else:
            rest = ["# software id = ", "#", *(["#", "#"] if spec.old else [])]
    else:
        rest = [
            f"# software id = {software_id(spec)}",
            "#",
            f"# model = {spec.model}",
            f"# serial number = {serial(spec)}",
        ]
    return "".join(row + "\r\n" for row in (first, *rest))


def clock_text(spec: RouterSpec, clock: datetime) -> str:
    """The date as the version writes it; the form changed in 7.10."""
    if spec.release >= (7, 10):
        return clock.strftime("%Y-%m-%d %H:%M:%S")
    month = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")[clock.month - 1]
    return f"{month}/{clock:%d/%Y %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One revision as text: its body, and the SHA-256 of the canonical text.

    That one has no date in its header, no device comments and no markers.
    """

    revision: int
    body: Body
    canonical_head: bytes
    digest: str

    @property
    def canonical(self) -> bytes:
        """The export without what changes by itself."""
        return self.canonical_head + self.body.text


def rendered(spec: RouterSpec, kinds: Sequence[EditKind], extent: Extent) -> Rendered:
    """The text of the configuration after these edits, as far as it is exported."""
    state, _ = at_revision(spec, kinds)
    text = body(within(spec, state, extent), sensitive=extent.sensitive)
    head = header(spec, None).encode("ascii")
    return Rendered(len(kinds), text, head, hashlib.sha256(head + text.text).hexdigest())


def export(spec: RouterSpec, text: Rendered, clock: datetime, number: int, flapping: float) -> bytes:
    """The export that a router gives at one moment: `number` is its count of exports, which decides the comments."""
    dice = drawn(spec, "flapping", number)
    parts = [header(spec, clock).encode("ascii")]
    start = 0
    comments = [(offset, f"# {about}") for offset, about in text.body.spots if dice.random() < flapping]
    for offset, row in sorted([*text.body.markers, *comments], key=itemgetter(0)):
        parts += (text.body.text[start:offset], row.encode("ascii") + b"\r\n")
        start = offset
    parts.append(text.body.text[start:])
    return b"".join(parts)
