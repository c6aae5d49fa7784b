"""Whom the status task takes, and what follows when it answers: with the rights of a collector."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.knocking import Knocking
from backupflow.core.knocking import LONGEST, MOST, due_after
from tests.integration.db.fleet import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.model import DeviceId
    from tests.integration.db.fleet import Fleet

HOUR = timedelta(hours=1)
FIRST = due_after(0.0)


def knocking(fleet: Fleet) -> Knocking:
    """The store, as a collector has it."""
    return Knocking(fleet.engine("collector"), fleet.policy)


def silent(fleet: Fleet, **columns: Any) -> DeviceId:  # noqa: ANN401 - of any type
    """A device that did not answer half an hour ago, and is due in an hour."""
    before = {"unreachable_since": ago(fleet, minutes=30), "met_at": ago(fleet, minutes=30), "failures": 3}
    return fleet.device(**{"due": HOUR, **before, **columns})


def ago(fleet: Fleet, **span: float) -> Any:  # noqa: ANN401 - a time
    """So long before now."""
    return fleet.value("SELECT now() - :span", span=timedelta(**span))


def taken(fleet: Fleet) -> list[DeviceId]:
    """Whom a round takes."""
    return [knock.device_id for knock in knocking(fleet).take()]


def test_who_did_not_answer_is_knocked_at_once_in_ten_minutes(fleet: Fleet) -> None:
    """It is written down before: as looked at, and as a connection, which its firewall counts."""
    device = silent(fleet)
    (knock,) = knocking(fleet).take()
    assert (knock.device_id, knock.port, knock.timeout) == (device, 22, LONGEST)
    row = fleet.row("device", device)
    assert abs(row.met_at - row.probed_at) < timedelta(seconds=5)
    assert taken(fleet) == []
    fleet.sql("UPDATE device SET probed_at = now() - interval '9 min', met_at = now() - interval '9 min'")
    assert taken(fleet) == []
    fleet.sql("UPDATE device SET probed_at = now() - interval '10.1 min', met_at = now() - interval '10.1 min'")
    assert taken(fleet) == [device]
    assert fleet.row("device", device).hold_until is None  # no knock brings us onto its second list


WRONG: dict[str, Callable[[Fleet], dict[str, Any]]] = {
    "it has answered": lambda _: {"unreachable_since": None},
    "paused": lambda _: {"status": "paused", "due": None},
    "blocked": lambda fleet: {
        "blocked_code": "authentication_failed", "blocked_at": ago(fleet, minutes=1), "blocked_detail": "",
    },
    "a poller says that it is away": lambda fleet: {"offline_since": ago(fleet, minutes=1)},
    "behind a jump host": lambda fleet: {"jump_host_id": fleet.jump_host()},
    "held by its firewall": lambda fleet: {"hold_until": ago(fleet, minutes=-5)},
    "met a minute ago": lambda fleet: {"met_at": ago(fleet, minutes=1)},
    "due before long anyway": lambda _: {"due": timedelta(minutes=7)},
    "in maintenance": lambda fleet: {"maintenance_until": ago(fleet, minutes=-5)},
    "its site is down": lambda fleet: {
        "site_id": fleet.value(
            "INSERT INTO site (tenant_id, name, down_since) VALUES (:tenant, 's', now()) RETURNING id",
            tenant=fleet.tenant,
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("why", WRONG)
def test_nobody_else_is_knocked_at(fleet: Fleet, why: str) -> None:
    """One that is no business of this, for each reason, beside one that is."""
    wrong, right = silent(fleet, **WRONG[why](fleet)), silent(fleet)
    assert taken(fleet) == [right]
    assert fleet.row("device", wrong).probed_at is None


def test_one_that_is_being_collected_is_left_alone(fleet: Fleet) -> None:
    """A session is on its way to it."""
    fleet.workers(collect=5)
    fleet.request(silent(fleet))
    assert fleet.claims.claim(LIMITS)
    assert taken(fleet) == []


def test_times_that_lie_in_the_future_keep_nobody_away(fleet: Fleet) -> None:
    """A clock stood ahead, and was set right."""
    ahead = {name: ago(fleet, days=-3) for name in ("probed_at", "met_at", "hold_until")}
    device = silent(fleet, **ahead)
    assert taken(fleet) == [device]


def test_two_workers_share_them(fleet: Fleet) -> None:
    """Nobody is knocked at twice, nor left out, however many take at the same time."""
    devices = {silent(fleet) for _ in range(40)}
    found: list[list[DeviceId]] = []
    start = Barrier(4)

    def work() -> None:
        start.wait(10)
        found.append(taken(fleet))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    everybody = [device for some in found for device in some] + taken(fleet)
    assert len(everybody) == len(set(everybody))
    assert set(everybody) == devices


def test_a_round_is_bounded_and_who_waited_longest_comes_first(fleet: Fleet) -> None:
    """So that each has its turn, however many are away."""
    last = silent(fleet, probed_at=ago(fleet, minutes=11))
    first = silent(fleet, probed_at=ago(fleet, minutes=20))
    fleet.fleet(MOST - 1)
    fleet.sql(
        "UPDATE device SET unreachable_since = now(), next_due_at = now() + interval '1 hour' WHERE probed_at IS NULL"
    )
    round_ = taken(fleet)
    assert (len(round_), round_[-1]) == (MOST, first)
    assert taken(fleet) == [last]


def test_settings_that_make_no_sense_keep_the_others_from_nothing(fleet: Fleet) -> None:
    """Of such a one its collector tells."""
    silent(fleet, settings={"interval_seconds": -1})
    right = silent(fleet)
    assert taken(fleet) == [right]


def test_who_answers_is_due_soon_and_claimed_no_sooner(fleet: Fleet) -> None:
    """Six minutes after the knock at the soonest; what is due before that stays."""
    fleet.workers(collect=5)
    late, soon = silent(fleet), silent(fleet, due=timedelta(minutes=1))
    assert knocking(fleet).answered({late: FIRST, soon: FIRST}) == 1
    due = {row.id: row.due for row in fleet.sql("SELECT id, next_due_at - now() AS due FROM device")}
    assert timedelta(minutes=6) < due[late] <= FIRST
    assert due[soon] <= timedelta(minutes=1)
    fleet.sql("UPDATE device SET next_due_at = next_due_at - interval '6 minutes'")
    claimed = fleet.claims.claim(LIMITS)
    assert claimed
    rows = fleet.sql("SELECT device_id FROM collection")
    assert [row.device_id for row in rows] == [soon]


@pytest.mark.parametrize(
    "meanwhile",
    ["unreachable_since = NULL", "status = 'paused', next_due_at = NULL", "status = 'removed', next_due_at = NULL"],
)
def test_what_happened_meanwhile_stands(fleet: Fleet, meanwhile: str) -> None:
    """A device that was collected, paused or removed while somebody knocked is not made due by it."""
    device = silent(fleet)
    fleet.sql(f"UPDATE device SET {meanwhile}")  # noqa: S608 - a constant
    before = fleet.row("device", device).next_due_at
    assert knocking(fleet).answered({device: FIRST}) == 0
    assert fleet.row("device", device).next_due_at == before
