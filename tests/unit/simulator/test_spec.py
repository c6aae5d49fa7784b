"""Behaviours are checked when they are set."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta

import pytest

from backupflow.errors import InputInvalid
from backupflow.simulator.behaviour import READERS, Behaviour
from backupflow.simulator.spec import Login, RouterSpec


def test_each_field_of_a_behaviour_can_be_set() -> None:
    """None is forgotten in the table that reads them, and the defaults are themselves readable."""
    assert set(READERS) == {item.name for item in fields(Behaviour)}
    same = {item.name: getattr(Behaviour(), item.name) for item in fields(Behaviour)}
    assert Behaviour().changed(same) == Behaviour()


def test_a_behaviour_may_come_from_json() -> None:
    """Seconds become spans, text becomes bytes, lists become tuples."""
    found = Behaviour().changed(
        {"answer_delay": 1.5, "raw_export": "é", "login_methods": ["password"], "mute": "banner"}
    )
    assert found == Behaviour(
        answer_delay=timedelta(seconds=1.5),
        raw_export="é".encode(),
        login_methods=("password",),
        mute="banner",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"delay": 1},
        {"mute": "always"},
        {"banner_delay": -1},
        {"banner_delay": True},
        {"cut_after": "10"},
        {"cut_after": -1},
        {"bytes_per_second": 0},
        {"listening": 1},
        {"flapping": 2},
        {"login_methods": ["hostbased"]},
        {"stderr": None},
        {"reset_at": "later"},
        {"babble": True},
        {"unexportable": "/ip ssh"},
        {"unexportable": ["ip ssh"]},
        {"serial": 7},
        {"legacy": "yes"},
    ],
)
def test_a_wrong_change_is_refused(change: dict[str, object]) -> None:
    """It would otherwise be noticed only by a test that waits for what never happens."""
    with pytest.raises(InputInvalid):
        Behaviour().changed(change)


def test_a_specification_does_not_print_its_secrets() -> None:
    """A failing test prints its values."""
    assert "hush" not in repr(RouterSpec("r1", marker="hush", logins=(Login("u", "hush"),)))


@pytest.mark.parametrize(("version", "release"), [("6.49.7", (6, 49)), ("7.10rc1", (7, 10)), ("7.20_ab294", (7, 20))])
def test_a_version_has_a_release(version: str, release: tuple[int, int]) -> None:
    """Suffixes of test versions do not matter."""
    assert RouterSpec("r1", version=version).release == release
