"""The log of edits of a simulated router, in the form that MikroTik's manual shows: the driver reads it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backupflow.drivers.routeros.who import edits
from backupflow.simulator.configuration import EditKind, at_revision
from backupflow.simulator.edit_log import KEPT, Made, edit_log
from backupflow.simulator.spec import RouterSpec

NOW = datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)
KINDS: tuple[EditKind, ...] = ("rule-added", "rule-removed", "address", "comment", "secret", "revert")


@pytest.mark.parametrize("version", ["6.49.7", "7.8", "7.14"])
def test_a_log_is_read_back(version: str) -> None:
    """Whoever made what at which time, the newest first, with menu, kind and what was typed; lines are wrapped."""
    spec = RouterSpec("r1", version=version)
    _, made = at_revision(spec, KINDS)
    log = [Made(edit, f"user {n}", NOW + timedelta(minutes=n)) for n, edit in enumerate(made)]
    text = edit_log(spec, log)
    assert max(map(len, text.split(b"\r\n"))) < 90
    read = edits(text)
    assert [(one.by, one.at.replace(tzinfo=UTC)) for one in read] == [(one.by, one.at) for one in reversed(log)]
    for one, edit in zip(read, reversed(made), strict=True):
        assert one.component == edit.section.removeprefix("/").replace(" ", "/")
        kind = "added" if not edit.before else "removed" if not edit.after else "modified"
        assert one.action == kind
        typed = (edit.before if kind == "removed" else edit.after).split(" ", 1)[1]
        assert {name for name, _ in one.values} >= {word.split("=")[0] for word in typed.split() if "=" in word[:12]}


def test_it_has_the_last_hundred() -> None:
    """As a router has them."""
    spec = RouterSpec("r1")
    _, made = at_revision(spec, ("rule-added",))
    log = [Made(made[0], f"u{n}", NOW) for n in range(150)]
    assert [one.by for one in edits(edit_log(spec, log))] == [f"u{n}" for n in range(149, 149 - KEPT, -1)]
