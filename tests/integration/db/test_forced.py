"""A backup by force: past a refused login, with its act on record, and never past another key; the block stays."""
# ruff: noqa: S608 - the statement is put together of our own constants

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.requests import Requests
from backupflow.core.ledger import Assignment, Ending, Kind
from backupflow.core.model import HostKey, State, Trigger
from backupflow.core.overview import Result
from tests.integration.db.fleet import KEY, LIMITS, Fleet, message, published

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId
    from backupflow.core.overview import Asked

HOUR = timedelta(hours=1)
REFUSED = Ending(State.BLOCKED, "authentication_failed", "once more", counts=True, blocks=True)
BLOCK = "blocked_code, blocked_detail, blocked_at, failures, losses"


def blocked(fleet: Fleet, code: str = "authentication_failed") -> DeviceId:
    """A device that is blocked for an hour."""
    device = fleet.device(due=HOUR, blocked_code=code, blocked_detail="as it was", failures=3)
    fleet.sql("UPDATE device SET blocked_at = now() - interval '1 hour' WHERE id = :d", d=device)
    return device


def ask(fleet: Fleet, device: DeviceId, *, force: bool) -> int:
    """As the command does."""
    requests, name = Requests(fleet.engine("operator")), fleet.row("device", device).name
    return (requests.force if force else requests.ask)(fleet.tenant, [name], "me")[0]


def tell(fleet: Fleet, number: int) -> Asked:
    """What the command is told."""
    return Requests(fleet.engine("operator")).asked([number])[0]


def tick(fleet: Fleet) -> list[Assignment]:
    """Claim, and start what was claimed."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    started = [fleet.collections.start(claim.collection_id, f"holder-{claim.collection_id}") for claim in claimed.new]
    return [one for one in started if isinstance(one, Assignment)]


def forced(fleet: Fleet, device: DeviceId) -> tuple[int, Assignment]:
    """A forced backup that runs."""
    fleet.workers(collect=5)
    number = ask(fleet, device, force=True)
    (running,) = tick(fleet)
    assert running.trigger is Trigger.FORCED
    return number, running


def standing(fleet: Fleet, device: DeviceId) -> tuple[Any, ...]:
    """The block, and what counts."""
    return tuple(fleet.sql(f"SELECT {BLOCK} FROM device WHERE id = :d", d=device)[0])


@pytest.mark.parametrize("code", ["authentication_failed", "algorithms_incompatible"])
def test_a_forced_success_is_stored_and_leaves_the_block(fleet: Fleet, code: str) -> None:
    """The device was tried once because a person said so, which is on record; whether it is well they say next."""
    device = blocked(fleet, code)
    number, running = forced(fleet, device)
    fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, KEY)
    assert fleet.collections.publish(running, published("A"))
    fleet.observations.store([message(running, "A")])
    told = tell(fleet, number)
    assert (told.result, told.is_change, told.blocked, told.forced) == (Result.SUCCESS, True, code, True)
    assert told.content_hash == published("A").observed.content_hash
    row = fleet.row("device", device)
    assert (row.blocked_code, row.blocked_detail, row.current_seq) == (code, "as it was", running.seq)
    acts = fleet.sql("SELECT action, detail FROM audit WHERE device_id = :d", d=device)
    assert [(act.action, act.detail) for act in acts] == [
        ("config_backup_forced", {"request": number, "blocked": code})
    ]
    fleet.sql("UPDATE device SET next_due_at = now()")
    assert tick(fleet) == []


@pytest.mark.parametrize(
    "ending",
    [
        REFUSED,
        Ending(State.FAILED, "device_timeout", counts=True, again_in=HOUR, slow=True),
        Ending(State.FAILED, "vault_unavailable", again_in=HOUR, pauses=True),
    ],
    ids=lambda ending: ending.code,
)
def test_a_forced_failure_leaves_the_block_as_it_was(fleet: Fleet, ending: Ending) -> None:
    """Since when and why it stands, and how often it failed: none of it moves, and no second alarm is raised."""
    device = blocked(fleet)
    before = standing(fleet, device)
    number, running = forced(fleet, device)
    assert fleet.collections.end(running, ending)
    assert standing(fleet, device) == before
    assert tell(fleet, number).result is Result.FAILED
    assert fleet.alarms() == []


def test_another_host_key_that_is_met_by_force_blocks_anew(fleet: Fleet) -> None:
    """New credentials end the block of a refused login: they must not end that of a changed key (I7)."""
    device = blocked(fleet)
    _, running = forced(fleet, device)
    other = HostKey("ssh-ed25519", b"other")
    ending = Ending(State.BLOCKED, "host_key_mismatch", "another", counts=True, blocks=True, offered=other)
    assert fleet.collections.end(running, ending)
    row = fleet.row("device", device)
    assert (row.blocked_code, row.failures) == ("host_key_mismatch", 3)
    assert fleet.alarms() == [("host_key_mismatch", f"device {device}")]
    number = ask(fleet, device, force=True)
    assert tick(fleet) == []
    assert tell(fleet, number).answer == "refused: blocked: host_key_mismatch"


@pytest.mark.parametrize("code", ["host_key_mismatch", "host_key_unapproved", "identity_changed", "ssh_downgraded"])
def test_nobody_forces_past_what_another_router_may_be(fleet: Fleet, code: str) -> None:
    """It is refused before there is a collection at all."""
    fleet.workers(collect=5)
    device = blocked(fleet, code)
    number = ask(fleet, device, force=True)
    assert tick(fleet) == []
    told = tell(fleet, number)
    assert (told.result, told.answer, told.run) == (Result.LOCKED, f"refused: blocked: {code}", None)
    assert fleet.value("SELECT count(*) FROM collection") == 0


def test_without_force_a_block_locks(fleet: Fleet) -> None:
    """A manual backup ignores what waits after a failure, and no block."""
    fleet.workers(collect=5)
    number, waits = ask(fleet, blocked(fleet), force=False), fleet.device(due=HOUR, failures=3)
    backing_off = ask(fleet, waits, force=False)
    assert [running.trigger for running in tick(fleet)] == [Trigger.MANUAL]
    assert (tell(fleet, number).result, tell(fleet, backing_off).result) == (Result.LOCKED, None)


def test_a_login_that_waits_is_tried_by_force_only(fleet: Fleet) -> None:
    """Many devices have refused it: whoever knows better says so; one that a person suspended stays suspended."""
    fleet.workers(collect=5)
    profile = fleet.login(name="shared")
    fleet.sql("UPDATE credential_profile SET suspended_at = now(), trial_at = now() + interval '1 h', trials = 1")
    device = fleet.device(login=False, due=HOUR, credential_profile_id=profile)
    manual = ask(fleet, device, force=False)
    assert tick(fleet) == []
    assert tell(fleet, manual).answer == "refused: login refused: shared"
    _, running = forced(fleet, device)
    assert fleet.collections.end(running, Ending(State.FAILED, "device_timeout"))
    fleet.sql("UPDATE credential_profile SET trial_at = NULL")
    again = ask(fleet, device, force=True)
    assert tick(fleet) == []
    assert tell(fleet, again).answer == "refused: login suspended"


def test_who_forces_what_runs_attaches_to_it(fleet: Fleet) -> None:
    """One session a device (I4), whoever asks, and each is told the same."""
    device = blocked(fleet)
    first, running = forced(fleet, device)
    second = ask(fleet, device, force=True)
    assert tick(fleet) == []
    assert fleet.collections.end(running, REFUSED)
    answers = [(one.answer, one.run, one.result) for one in (tell(fleet, first), tell(fleet, second))]
    run = running.collection_id
    assert answers == [("claimed", run, Result.FAILED), ("attached", run, Result.FAILED)]


def test_who_forces_what_waits_is_not_taken_back_with_it(fleet: Fleet) -> None:
    """A run by its turn was claimed, and is withdrawn for a block that a person goes past: theirs is claimed then."""
    device = fleet.device()
    fleet.workers(collect=5)
    claimed = fleet.claims.claim(LIMITS)
    number = ask(fleet, device, force=True)
    assert claimed is not None
    assert len(claimed.new) == 1
    assert tick(fleet) == []
    assert tell(fleet, number).answer is None
    fleet.sql("UPDATE device SET blocked_code = 'authentication_failed', blocked_at = now() WHERE id = :d", d=device)
    assert [running.trigger for running in tick(fleet)] == [Trigger.FORCED]
    assert tell(fleet, number).answer == "claimed"


def test_who_forces_what_runs_by_its_turn_attaches_to_it(fleet: Fleet) -> None:
    """It asks the router already."""
    device = fleet.device()
    fleet.workers(collect=5)
    (running,) = tick(fleet)
    number = ask(fleet, device, force=True)
    assert tick(fleet) == []
    told = tell(fleet, number)
    assert (told.answer, told.run) == ("attached", running.collection_id)


def test_too_many_connections_lately_lock_but_by_force(fleet: Fleet) -> None:
    """The router's own firewall might ban our address: a person may take that risk."""
    fleet.workers(collect=5)
    device = fleet.device(due=HOUR)
    fleet.sql("UPDATE device SET wary_until = now() + interval '10 minutes'")
    number = ask(fleet, device, force=False)
    assert tick(fleet) == []
    told = tell(fleet, number)
    assert told.result is Result.LOCKED
    assert "--force" in (told.answer or "")
    assert len(tick_by_force(fleet, device)) == 1


def tick_by_force(fleet: Fleet, device: DeviceId) -> list[Assignment]:
    """Ask by force, and claim."""
    ask(fleet, device, force=True)
    return tick(fleet)


def test_only_backups_are_forced() -> None:
    """A test or a scan stays what it is."""
    assert [kind.asked(forced=True) for kind in Kind] == [Trigger.FORCED, Trigger.TEST, Trigger.SCAN]
    assert [kind.asked(forced=False) for kind in Kind] == [Trigger.MANUAL, Trigger.TEST, Trigger.SCAN]
