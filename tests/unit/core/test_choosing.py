"""Devices chosen by what is known of them."""

from __future__ import annotations

from uuid import UUID

import pytest

from backupflow.core.choosing import chosen, condition
from backupflow.core.fleet import Candidate
from backupflow.core.model import DeviceId
from backupflow.errors import InputInvalid

CORE = Candidate(
    DeviceId(UUID(int=1)), "core-1", "10.1.0.1", 22, "active", "authentication_failed", "core", "north", "routers",
    "hop", "netbox https://n", "routeros", {"version": "7.14.3", "model": "CCR1009"},
)  # fmt: skip
EDGE = Candidate(DeviceId(UUID(int=2)), "Edge-2", "10.10.0.1", 2222, "paused", None, driver="routeros")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("status=blocked", "core-1"), ("status=paused", "Edge-2"), ("status=active", ""), ("status!=paused", "core-1"),
        ("blocked=authentication_failed", "core-1"), ("blocked=", "Edge-2"), ("blocked!=", "core-1"),
        ("version~7.1", "core-1"), ("version~7.2", ""), ("version=7.14.3", "core-1"), ("version~7.*.3", "core-1"),
        ("name~core-*", "core-1"), ("name~EDGE", "Edge-2"), ("name=edge-2", ""), ("name~?dge-2", "Edge-2"),
        ("host~10.1.", "core-1"), ("host~10.", "Edge-2 core-1"), ("host~0.0.1", ""), ("port=2222", "Edge-2"),
        ("group=core", "core-1"),
        ("site=north", "core-1"), ("site!=north", "Edge-2"), ("profile=routers", "core-1"), ("jump=hop", "core-1"),
        ("source=netbox https://n", "core-1"), ("source=", "Edge-2"), ("driver=routeros", "Edge-2 core-1"),
        (" Model ~ ccr ", "core-1"), ("identity=", "Edge-2 core-1"), ("serial~x", ""),
    ],
)  # fmt: skip
def test_each_condition_chooses_what_it_says(text: str, found: str) -> None:
    """= and != whole and exactly; ~ how it begins or by a pattern, in any letters; an empty value is none."""
    assert [it.name for it in chosen([CORE, EDGE], group=None, site=None, conditions=[text])] == found.split()


def test_all_that_is_asked_for_must_hold() -> None:
    """Conditions, group and site together."""
    devices = [CORE, EDGE]
    assert chosen(devices, group="core", site="north", conditions=["name~core", "port=22"]) == [CORE]
    assert chosen(devices, group="core", site="south", conditions=[]) == []
    assert chosen(devices, group=None, site=None, conditions=["name~core", "port=2222"]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a condition is `field=value`"), ("name", "a condition is `field=value`"), ("name>1", "a condition is"),
        ("colour=red", "no field 'colour' to choose by; there are name, host, port, status, blocked"),
        ("status=blocket", "a status is active, paused or blocked"), ("name~", "name~ needs a pattern"),
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str, message: str) -> None:
    """A condition that is not understood chooses nobody, and says what it could be."""
    with pytest.raises(InputInvalid, match=message.replace("(", r"\(")):
        condition(text)
