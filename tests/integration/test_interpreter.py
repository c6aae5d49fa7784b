"""Interpreting in a process of its own: the same answer, and whatever a text does to it, the worker goes on."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow import drivers
from backupflow.adapters.reader.interpreter import AS_SHIPPED, ProcessInterpreter
from backupflow.adapters.reader.process import ReadingDefect
from backupflow.core.ignoring import Rule
from backupflow.core.interpretation import Kind, Question
from backupflow.core.interpreting import answer
from backupflow.core.model import Pepper, RawConfig
from backupflow.errors import CollectorBusy, InputInvalid
from tests.integration import reading_child, test_reader
from tests.integration.reading_child import Strange

if TYPE_CHECKING:
    from collections.abc import Iterator

STRANGE = Path(reading_child.__file__).resolve()
IN_PROCESS = replace(AS_SHIPPED, in_thread=0)
QUESTION = Question("routeros", None, RawConfig(b"x"), Pepper(b"p" * 32))


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    """No test leaves a child."""
    yield
    assert test_reader.children() == []


@pytest.fixture
def _strange(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strange driver in this process too."""
    monkeypatch.setattr(drivers, "DRIVERS", {Strange.name: Strange()})


def strange(**bounds: object) -> ProcessInterpreter:
    """An interpreter whose process has the strange driver."""
    return ProcessInterpreter(replace(IN_PROCESS, **bounds), entry=STRANGE)  # type: ignore[arg-type]


def export(*items: str, version: str = "7.14") -> RawConfig:
    """An export of these addresses."""
    head = [f"# 2026-01-02 03:04:05 by RouterOS {version}", "#", "/ip address"]
    return RawConfig("\r\n".join([*head, *(f"add address={one} interface=ether1" for one in items), ""]).encode())


def test_a_process_answers_what_a_thread_does() -> None:
    """With the program and the driver that ship: every field, with rules and versions; a large text gets a process."""
    many = [f"10.{n // 250}.{n % 250}.1/24" for n in range(4000)]
    question = replace(
        QUESTION,
        before=export(*many),
        after=export(*many[:-1], "192.0.2.1/24", version="7.15"),
        versions=("7.14", "7.15"),
        rules=(Rule("ip/address", "address", "192.0.2.*"),),
    )
    assert len(question.after) * 2 > AS_SHIPPED.in_thread
    here, there = answer(question, drivers.driver("routeros")), ProcessInterpreter().answer(question)
    assert here == there
    assert there.interpretation.kind is Kind.UPGRADE
    assert there.interpretation.changes


@pytest.mark.usefixtures("_strange")
@pytest.mark.parametrize(
    ("word", "bounds", "says"),
    [
        ("never_ends", {"processor_time": timedelta(seconds=1)}, "1 s of processor time"),
        ("takes_memory", {"memory": 400 * 1024 * 1024}, "400 MiB of memory"),
        ("crashes", {}, f"by signal {signal.SIGSEGV.value}"),
        ("floods", {}, "more than"),
    ],
)
def test_what_is_over_its_bounds_is_unread_and_says_why(word: str, bounds: dict[str, object], says: str) -> None:
    """An answer like any other: it is recorded, and nobody tries it for ever."""
    found = strange(**bounds).answer(replace(QUESTION, after=RawConfig(word.encode()))).interpretation
    assert (found.kind, found.changes, found.diff) == (Kind.UNREAD, None, None)
    assert says in found.detail


@pytest.mark.usefixtures("_strange")
def test_a_machine_that_is_too_busy_is_no_fault_of_a_text() -> None:
    """By the clock it took too long, or had no turn: it is tried again."""
    waits = replace(QUESTION, after=RawConfig(b"waits"))
    with pytest.raises(CollectorBusy, match="in time"):
        strange(time=timedelta(seconds=0.5)).answer(waits)
    one = strange(at_once=1, wait=timedelta(0))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.answer, waits)
        process = test_reader.child()
        with pytest.raises(CollectorBusy, match="no turn"):
            one.answer(QUESTION)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(CollectorBusy, match="killed"):
            first.result()


@pytest.mark.usefixtures("_strange")
def test_a_defect_is_told_by_its_name_alone() -> None:
    """Its words may quote a configuration."""
    with pytest.raises(ReadingDefect) as raised:
        strange().answer(replace(QUESTION, after=RawConfig(b"raises a secret")))
    assert (type(raised.value).__name__, str(raised.value)) == ("KeyError", "KeyError")


def test_an_unknown_driver_is_named_as_such() -> None:
    """As the registry says it."""
    with pytest.raises(InputInvalid, match="no driver 'junos'"):
        ProcessInterpreter().answer(replace(QUESTION, driver="junos"))
