"""The taxonomy of failures: each class tells an operator what to do, and survives the way between processes."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import pytest

from backupflow import errors
from backupflow.errors import BackupflowError, DeviceTimeout, Verdict


def every_class(root: type[BackupflowError] = BackupflowError) -> list[type[BackupflowError]]:
    """All classes below the root, however deep, in the order of their definition."""
    return [found for child in root.__subclasses__() for found in (child, *every_class(child))]


CLASSES = [found for found in every_class() if found.__module__ == errors.__name__]
each_class = pytest.mark.parametrize("failure", CLASSES, ids=lambda failure: failure.code)


@each_class
def test_a_failure_has_a_message_of_its_own(failure: type[BackupflowError]) -> None:
    """The docstring is the message: a class without one would say nothing, or what its parent says."""
    assert re.fullmatch(r"[A-Z].+\.", " ".join(str(failure.__doc__).split()))


@each_class
def test_a_failure_names_its_own_code_in_snake_case(failure: type[BackupflowError]) -> None:
    """A code is a metric label, a log field and a file name, so it is its own and plain."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", vars(failure)["code"])


def test_no_two_failures_share_a_code() -> None:
    """A code leads to one runbook page and one class."""
    assert [code for code, times in Counter(failure.code for failure in CLASSES).items() if times > 1] == []


@each_class
def test_a_failure_has_a_verdict(failure: type[BackupflowError]) -> None:
    """What happens next follows from the class alone."""
    assert isinstance(failure.verdict, Verdict)


@each_class
def test_a_failure_survives_pickling(failure: type[BackupflowError]) -> None:
    """An exception crosses processes: its type, detail and text come out as they went in."""
    before = failure("10.0.0.1 port 22")
    after = pickle.loads(pickle.dumps(before))  # noqa: S301  our own bytes
    assert (type(after), after.detail, str(after)) == (failure, "10.0.0.1 port 22", str(before))


@each_class
def test_a_failure_is_one_line_with_its_detail_last(failure: type[BackupflowError]) -> None:
    """The text fits one log line: what happened, what to do, then the detail."""
    says = str(failure("seen at 12:00"))
    assert "\n" not in says
    assert says.endswith("seen at 12:00" if failure.detail_says_all else " (seen at 12:00)")


@pytest.mark.parametrize("failure", [errors.InputInvalid, errors.Conflict])
def test_a_line_begins_with_what_happened(failure: type[BackupflowError]) -> None:
    """Nobody reads a general sentence first where the detail says what was refused, and why."""
    assert str(failure("a device named core-1 is there already")) == "a device named core-1 is there already"
    assert str(failure()) == " ".join(str(failure.__doc__).split())


def test_a_failure_without_detail_says_only_its_message() -> None:
    """An empty detail leaves no empty brackets behind."""
    assert "(" not in str(DeviceTimeout())


def test_every_verdict_is_used() -> None:
    """A verdict that no failure has would be a branch that nothing reaches."""
    assert {failure.verdict for failure in CLASSES} == set(Verdict)
