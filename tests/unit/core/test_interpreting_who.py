"""An interpretation with a router's log of edits: who made a change stands on it, and in what is told of it."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from backupflow.adapters.reader import frame, interpret_wire
from backupflow.core.change_codec import decode
from backupflow.core.edits import Log, Witness
from backupflow.core.interpretation import Kind, Question
from backupflow.core.interpreting import answer
from backupflow.core.model import Pepper, RawConfig
from backupflow.drivers import driver

ROUTER = driver("routeros")
NOW = datetime(2026, 11, 22, 14, 30, tzinfo=UTC)


def export(comment: str) -> RawConfig:
    """With a rule and an address list."""
    head = "# 2026-11-22 15:30:00 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n#\r\n"
    rule = f'/ip firewall filter\r\nadd action=accept chain=input comment="{comment}"\r\n'
    return RawConfig(f"{head}{rule}/system identity\r\nset name={comment.replace(' ', '')}\r\n".encode())


# The router's clock is an hour ahead of ours.
LOG = b"""U redo=/ip/firewall/filter/set *3 comment="b c" undo=/ip/firewall/filter/set *3 comment=a
    action="filter rule changed" by="anna" policy=write time=2026-11-22 15:02:11
U redo=/ip/firewall/filter/add chain=forward undo=/ip/firewall/filter/remove *4 action="filter rule added"
    by="eve" policy=write time=2026-11-21 03:00:00
"""
WITNESS = Witness(Log(LOG, ROUTER.clock(export("a"))), NOW - timedelta(hours=6), NOW)
QUESTION = Question("routeros", export("a"), export("b c"), Pepper(b"p" * 32), witness=WITNESS)


def test_it_stands_on_the_change_and_in_its_summary() -> None:
    """In our time; on no change of another menu, and by nobody whose edit was before."""
    found = answer(QUESTION, ROUTER).interpretation
    assert found.kind is Kind.CHANGE
    assert found.changes is not None
    assert {(one.component, one.by, one.made_at) for one in decode(found.changes)} == {
        ("ip/firewall/filter", "anna", datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)),
        ("system/identity", None, None),
    }
    assert [line.endswith("(by anna 2026-11-22 14:02Z)") for line in found.summaries] == [True, False]


def test_a_log_changes_nothing_but_who() -> None:
    """Whatever it says: the same changes, lines and counts as without it."""
    alone = answer(replace(QUESTION, witness=None), ROUTER)
    for text in (LOG, b"", b"\xff" * 1000, b'action="x" by="' * 1000, LOG * 50):
        with_log = answer(replace(QUESTION, witness=replace(WITNESS, log=Log(text, WITNESS.log.clock))), ROUTER)
        assert alone.interpretation.changes is not None
        assert with_log.interpretation.changes is not None
        nobody = [replace(one, by=None, made_at=None) for one in decode(with_log.interpretation.changes)]
        assert nobody == list(decode(alone.interpretation.changes))
        rest = {"changes": None, "summaries": ()}
        assert replace(with_log.interpretation, **rest) == replace(alone.interpretation, **rest)  # type: ignore[arg-type]


def test_a_question_comes_whole_through_the_pipe() -> None:
    """With its log, and without one."""
    for question in (QUESTION, replace(QUESTION, witness=None), replace(QUESTION, before=None)):
        stream = io.BytesIO(b"".join(interpret_wire.request(question)))
        assert interpret_wire.question_under(frame.header_of(stream), stream) == question
