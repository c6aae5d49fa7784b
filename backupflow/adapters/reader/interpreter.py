"""Interprets changes: of small texts here and now, of large ones in a process of its own, within bounds."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow import drivers
from backupflow.adapters.reader import frame, interpret_wire
from backupflow.adapters.reader.process import ENTRY, Bounds, Confined, TooHard
from backupflow.core.interpretation import Answer, Interpretation, Kind
from backupflow.core.interpreting import answer

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.interpretation import Question

# Two exports of 16 MiB that have little in common are the worst; see bench/changes.py and bench/diff.py.
AS_SHIPPED: Final = Bounds(
    in_thread=200_000,
    processor_time=timedelta(seconds=30),
    time=timedelta(seconds=45),
    memory=3 * 1024 * 1024 * 1024,
    at_once=2,
    wait=timedelta(seconds=45),
)
_GROWTH: Final = 10  # changes and diff against both texts: each line in full on both sides, with its section, as JSON


class ProcessInterpreter:
    """core.ports.Interpreter; made once a process, used by its threads."""

    def __init__(self, bounds: Bounds = AS_SHIPPED, *, entry: Path = ENTRY) -> None:
        self._in_thread = bounds.in_thread
        self._confined = Confined[Answer](bounds, entry, interpret_wire.answer_of)

    def answer(self, question: Question) -> Answer:
        """What core.interpreting gives; unread if it takes more processor time or memory than any real export.

        Raises CollectorBusy if this machine is too busy, InputInvalid for an unknown driver, and ReadingDefect for what
        the driver raised.
        """
        reads = drivers.driver(question.driver)
        size = len(question.after) + len(question.before or b"")
        if size <= self._in_thread:
            return answer(question, reads)
        most = _GROWTH * size + 2 * frame.LARGEST_HEADER
        try:
            return self._confined.ask(interpret_wire.request(question), most)
        except TooHard as exc:
            return Answer(None, None, is_same=False, interpretation=Interpretation(Kind.UNREAD, str(exc)))
