"""Who made a change, through the whole install: asked of the router, sealed, put on the change, shown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import PATIENT, Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = PATIENT

SECONDS = 60
ASKS = {"who": True}
SEVEN = RouterSpec("", version="7.14", behaviour=Behaviour(flapping=0))
SIX = replace(SEVEN, version="6.49.7")
ROUTERS: dict[str, tuple[RouterSpec, dict[str, Any]]] = {
    "who7": (SEVEN, ASKS),
    "who6": (SIX, ASKS),
    "who-not": (SEVEN, {}),  # nobody asked for it
    "who-omits": (SEVEN, ASKS | {"secrets": "omit"}),
    "who-unknown": (replace(SEVEN, behaviour=Behaviour(flapping=0, edit_log=None)), ASKS),
    "who-hostile": (replace(SEVEN, behaviour=Behaviour(flapping=0, edit_log=b'by="root" \x1b[2J' * 40_000)), ASKS),
}
BY = {"who7": "anna [2J", "who6": "bob"}
EXPECTED = {
    "who7": "kept", "who6": "kept", "who-not": None, "who-omits": None, "who-unknown": "no_log",
    "who-hostile": "output_too_large",
}  # fmt: skip


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A router for each story."""
    with Fleet([replace(spec, name=name) for name, (spec, _) in ROUTERS.items()]) as routers:
        yield routers


def ended(install: Install, state: str) -> list[str]:
    """Those of the routers with a collection in this state, as often as they have one."""
    found = install.rows(
        "SELECT d.name FROM collection c JOIN device d ON d.id = c.device_id WHERE state = :s", s=state
    )
    return sorted(row.name for row in found if row.name in ROUTERS)


def test_a_change_is_shown_with_who_made_it(collecting: Install, fleet: Fleet) -> None:
    """Where the router told so; whatever else it answered, its export was stored. Nothing of a log is in clear."""
    for name, router in fleet.items():
        collecting.add(name, router.port, Login("backup", "backup"), ROUTERS[name][1])
    wait_for(lambda: ended(collecting, "stored") == sorted(ROUTERS), "the first round", SECONDS)
    made = datetime.now(UTC)
    for name, router in fleet.items():
        router.edit("address", by="anna\x1b[2J" if name == "who7" else "bob")
    collecting.forget_meetings()
    numbers = collecting.wiring.requests.ask(collecting.tenant_id, list(ROUTERS), "test")
    wait_for(lambda: all(one.ended for one in collecting.wiring.requests.asked(numbers)), "the second", SECONDS)
    assert ended(collecting, "stored") == sorted([*ROUTERS, *ROUTERS])
    rows = collecting.rows(
        "SELECT d.name, c.facts ->> 'who' AS who, c.log_sealed FROM collection c JOIN device d ON d.id = c.device_id "
        "WHERE c.seq = (SELECT max(seq) FROM collection x WHERE x.device_id = d.id)"
    )
    told = {row.name: (row.who, (row.log_sealed or "").startswith("vault:v")) for row in rows if row.name in ROUTERS}
    assert told == {name: (who, who == "kept") for name, who in EXPECTED.items()}
    asked = {name: [e.facts["text"] for e in router.history if e.kind == "command"] for name, router in fleet.items()}
    assert {name for name, texts in asked.items() if "/system history print detail" in texts} == {
        name for name, (_, settings) in ROUTERS.items() if settings == ASKS
    }

    def interpreted() -> bool:
        rows = collecting.rows(
            "SELECT d.name FROM interpretation i JOIN device d ON d.id = i.device_id WHERE i.seq > 1"
        )
        return {row.name for row in rows} >= set(ROUTERS)

    wait_for(interpreted, "what changed", SECONDS)
    command = collecting.command("history", "--all", "--since", "1h", "--json", "--limit", "1000")
    changes = [one for one in json.loads(command.stdout)["changes"] if one["device"] in ROUTERS and one["changes"]]
    assert {one["device"]: [change["by"] for change in one["changes"]] for one in changes} == {
        name: [BY.get(name)] for name in ROUTERS
    }
    [change] = next(one["changes"] for one in changes if one["device"] == "who6")
    assert abs(datetime.fromisoformat(change["made_at"]) - made) < timedelta(minutes=2)
    assert "by bob" in collecting.command("history", "who6").stdout.decode()
