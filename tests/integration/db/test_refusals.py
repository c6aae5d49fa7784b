"""A shared login that devices refuse: whom it blocks, when it is suspended, who tries it again, and what ends that."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.scopes import Scopes
from backupflow.core import scope_acts
from backupflow.core.inventory import DeviceLogin
from backupflow.core.ledger import Ending, Step
from backupflow.core.model import CollectionId, SealedSecret, State
from backupflow.core.report import Stage
from backupflow.core.scopes import Changes, ProfileRecord, ScopeKind
from tests.integration.db.fleet import KEY, LIMITS, SECRET, Fleet, published

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy import Row

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import DeviceId
    from backupflow.core.scopes import Record, ScopeUpdate

REFUSED = Ending(State.BLOCKED, "authentication_failed", "it said no", True, blocks=True)
REFUSED_TEST = Ending(State.TESTED, "authentication_failed", "it said no", blocks=True)
TIMED_OUT = Ending(State.FAILED, "device_timeout", "", True, again_in=timedelta(minutes=5))
MINUTE = timedelta(minutes=1)
UNREACHABLE = Ending(State.FAILED, "device_unreachable", "", True, again_in=5 * MINUTE)


def shared(fleet: Fleet, count: int, name: str = "routers") -> tuple[UUID, list[DeviceId]]:
    """A profile and devices that use it, due for a while, with a pinned key each."""
    profile = fleet.login(name=name)
    devices = [fleet.device(login=False, credential_profile_id=profile) for _ in range(count)]
    fleet.sql(
        "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
        "SELECT tenant_id, id, 'pinned', :key_type, :blob, :f FROM device WHERE credential_profile_id = :p",
        p=profile,
        key_type=KEY.key_type,
        blob=KEY.blob,
        f=KEY.fingerprint,
    )
    return profile, devices


def asked(fleet: Fleet, device: DeviceId, trigger: str = "schedule") -> Assignment:
    """A session that has just sent its login."""
    running = fleet.running(device, trigger=trigger)
    assert fleet.collections.login_allowed(running, KEY)
    return running


def refuse(fleet: Fleet, *devices: DeviceId, trigger: str = "schedule") -> None:
    """Each of them refuses it, one after another."""
    for device in devices:
        running = asked(fleet, device, trigger)
        assert fleet.collections.end(running, REFUSED_TEST if trigger == "test" else REFUSED)


def suspended(fleet: Fleet, count: int = 8) -> tuple[UUID, list[DeviceId]]:
    """A login that the first five of its devices have refused."""
    profile, devices = shared(fleet, count)
    refuse(fleet, *devices[:5])
    assert fleet.row("credential_profile", profile).trial_at is not None
    return profile, devices


def blocked(fleet: Fleet) -> set[Any]:
    """The devices that are."""
    return {row.id for row in fleet.sql("SELECT id FROM device WHERE blocked_code IS NOT NULL")}


def trial(fleet: Fleet) -> list[Row[Any]]:
    """What a tick claims when the time for a trial has come."""
    fleet.sql("UPDATE credential_profile SET trial_at = now() WHERE trial_at IS NOT NULL")
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return [fleet.row("collection", claim.collection_id) for claim in claimed.new]


def proves(fleet: Fleet) -> None:
    """A trial is taken."""
    fleet.sql("UPDATE device SET hold_until = NULL")
    assert fleet.collections.publish(begun(fleet, trial(fleet)[0]), published("A"))


def begun(fleet: Fleet, row: Row[Any]) -> Assignment:
    """A collector has begun it, and sent the login."""
    started = fleet.collections.start(CollectionId(row.id), "me")
    assert fleet.collections.login_allowed(started, KEY)  # type: ignore[arg-type]
    return started  # type: ignore[return-value]


def act(fleet: Fleet, decide: Callable[[ProfileRecord], ScopeUpdate | None]) -> Record:
    """What a person does to the profile."""

    def decided(there: Record) -> ScopeUpdate | None:
        assert isinstance(there, ProfileRecord)
        return decide(there)

    return Scopes(fleet.engine("enroller")).change(ScopeKind.PROFILE, fleet.tenant, "routers", decided, "me")[0]


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["schedule", "test"])
def test_the_fifth_refusal_suspends_the_login_and_frees_its_devices(fleet: Fleet, trigger: str) -> None:
    """Four are blocked by themselves; the fifth makes all of them wait, under one alarm."""
    profile, devices = shared(fleet, 6)
    refuse(fleet, *devices[:4], trigger=trigger)
    assert blocked(fleet) == set(devices[:4])
    assert fleet.row("credential_profile", profile).suspended_at is None
    refuse(fleet, devices[4], trigger=trigger)
    row = fleet.row("credential_profile", profile)
    assert row.suspended_reason == "5 of 5 devices refused it"
    assert row.trial_at - row.suspended_at == timedelta(minutes=15)
    assert blocked(fleet) == set()
    assert fleet.alarms() == [("login_refused", f"login {profile}")]
    waiting = fleet.sql("SELECT id FROM device WHERE next_due_at <= now() AND refused_at IS NOT NULL AND failures <= 1")
    assert {device.id for device in waiting} == set(devices[:5])
    last = fleet.sql("SELECT state, code FROM collection WHERE device_id = :d", d=devices[4])[0]
    assert (last.state, last.code) == ("tested" if trigger == "test" else "failed", "authentication_failed")


@pytest.mark.parametrize(("others", "suspends"), [(45, True), (46, False)])
def test_a_login_that_nine_tenths_take_is_not_suspended(fleet: Fleet, others: int, suspends: bool) -> None:
    """Five of fifty are a tenth; of one more they are less, and each of them is blocked by itself."""
    profile, devices = shared(fleet, 5)
    fleet.fleet(others)
    fleet.sql(
        "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, login_id, login_sent_at) "
        "SELECT tenant_id, id, 1, 'schedule', 'collect', 'failed', :p, now() FROM device WHERE name LIKE 'm-%'",
        p=profile,
    )  # fmt: skip
    refuse(fleet, *devices)
    assert (fleet.row("credential_profile", profile).suspended_at is not None) == suspends
    assert blocked(fleet) == (set() if suspends else set(devices))


def test_what_still_runs_is_not_counted_as_taken(fleet: Fleet) -> None:
    """However many workers there are: nobody knows yet what those sessions will be told."""
    profile, devices = shared(fleet, 70)
    for device in devices[5:]:
        asked(fleet, device)
    refuse(fleet, *devices[:5])
    assert fleet.row("credential_profile", profile).suspended_reason == "5 of 5 devices refused it"


@pytest.mark.parametrize(
    "since",
    [
        "UPDATE collection SET login_sent_at = now() - interval '16 minutes'",
        "UPDATE credential_profile SET changed_at = clock_timestamp()",
        "UPDATE credential_profile SET proved_at = clock_timestamp()",
        "UPDATE device SET blocked_code = NULL, blocked_at = NULL",
    ],
    ids=["long ago", "another login", "proved since", "freed by a person"],
)
def test_what_was_refused_before_is_not_counted(fleet: Fleet, since: str) -> None:
    """Only refusals of one quarter of an hour are one event, and only those of this login, as it stands."""
    profile, devices = shared(fleet, 5)
    refuse(fleet, *devices[:4])
    fleet.sql(since)
    refuse(fleet, devices[4])
    assert fleet.row("credential_profile", profile).suspended_at is None
    assert devices[4] in blocked(fleet)


def test_what_blocked_it_since_is_not_counted(fleet: Fleet) -> None:
    """It took this login a moment ago, and was blocked for another one: that says nothing of this one."""
    profile, devices = shared(fleet, 5)
    for device in devices:
        assert fleet.collections.publish(asked(fleet, device), published("A"))
    for device in devices[:4]:
        fleet.login(device)
        refuse(fleet, device)
    refuse(fleet, devices[4])
    assert fleet.row("credential_profile", profile).suspended_at is None
    assert blocked(fleet) == set(devices)


def test_a_time_ahead_hides_no_refusal(fleet: Fleet) -> None:
    """A clock that stood ahead and was set right does not keep a login from being suspended."""
    profile, devices = shared(fleet, 5)
    fleet.sql("UPDATE credential_profile SET proved_at = now() + interval '3 hours'")
    refuse(fleet, *devices)
    assert fleet.row("credential_profile", profile).trial_at is not None


def test_logins_of_their_own_are_blocked_each_by_itself(fleet: Fleet) -> None:
    """What nobody shares says nothing of anybody else."""
    devices = [fleet.device() for _ in range(6)]
    for device in devices:
        assert fleet.collections.end(fleet.running(device), REFUSED)
    assert blocked(fleet) == set(devices)
    assert {code for code, _ in fleet.alarms()} == {"authentication_failed"}


# --- suspended ------------------------------------------------------------------------------------------------------


def test_nothing_is_sent_while_it_is_suspended(fleet: Fleet) -> None:
    """Neither by turn nor on a wish, nor by a session that has begun already."""
    profile, devices = shared(fleet, 8)
    begun_before = fleet.running(devices[5])
    refuse(fleet, *devices[:5])
    assert not fleet.collections.login_allowed(begun_before, KEY)
    assert fleet.row("collection", begun_before.collection_id).login_sent_at is None
    fleet.workers(collect=5)
    wishes = [fleet.request(devices[6]), fleet.request(devices[7], "test")]
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    assert claimed.new == ()
    assert {fleet.row("request", wish).answer for wish in wishes} == {"refused: login refused: routers"}
    assert fleet.row("credential_profile", profile).trial_at is not None


def test_who_was_being_asked_meanwhile_waits_too(fleet: Fleet) -> None:
    """A refusal that comes after the suspension blocks nobody; a success that was under way ends nothing."""
    profile, devices = shared(fleet, 8)
    under_way = [asked(fleet, device) for device in devices[5:]]
    refuse(fleet, *devices[:5])
    assert fleet.collections.end(under_way[0], REFUSED)
    assert fleet.collections.publish(under_way[1], published("A"))
    assert fleet.collections.end(under_way[2], Ending(State.FAILED, "command_rejected", "", True))
    assert blocked(fleet) == set()
    assert fleet.row("device", devices[5]).refused_at is not None
    assert fleet.row("credential_profile", profile).suspended_reason == "5 of 5 devices refused it"


def test_a_device_that_somebody_holds_is_freed_as_soon_as_they_let_it_go(fleet: Fleet) -> None:
    """Nobody waits for the lock of another device while they hold their own; whom that leaves blocked comes after."""
    profile, devices = shared(fleet, 8)
    refuse(fleet, *devices[:4])
    with ThreadPoolExecutor(1) as pool:
        with fleet.admin.connect() as other, other.begin():
            other.exec_driver_sql("SELECT 1 FROM device WHERE id = %s FOR UPDATE", (devices[0],))
            ending = pool.submit(refuse, fleet, devices[4])
            while fleet.row("credential_profile", profile).trial_at is None:
                assert not ending.done()
            assert blocked(fleet) == {devices[0]}
        ending.result(20)
    assert blocked(fleet) == set()
    assert [code for code, _ in fleet.alarms()] == ["login_refused"]


def test_whom_a_dead_collector_left_blocked_is_freed_when_the_next_trial_ends(fleet: Fleet) -> None:
    """Its device was held by somebody when the login was suspended, and nobody came after."""
    _, devices = suspended(fleet)
    fleet.sql(
        "UPDATE device d SET blocked_code = 'authentication_failed', blocked_at = c.ended_at, refused_at = NULL "
        "FROM collection c WHERE c.device_id = d.id AND d.id = :d",
        d=devices[0],
    )
    fleet.workers(collect=5)
    assert fleet.collections.end(begun(fleet, trial(fleet)[0]), TIMED_OUT)
    assert blocked(fleet) == set()


def test_many_that_are_told_no_at_one_moment_suspend_it_once(fleet: Fleet) -> None:
    """Twenty collectors, a person and an ingester, all at the same devices: none is blocked, none waits for ever."""
    profile, devices = shared(fleet, 20)
    under_way = [asked(fleet, device) for device in devices]
    together, ended = threading.Barrier(22), []

    def end(running: Assignment) -> None:
        together.wait(20)
        ended.append(fleet.collections.end(running, REFUSED))

    def edit() -> None:
        together.wait(20)
        act(fleet, lambda there: scope_acts.profile_edited(there, Changes(settings={"trust": "tofu"}), None))

    def hold() -> None:
        together.wait(20)
        with fleet.engine("ingester").begin() as tx:
            tx.exec_driver_sql("SELECT 1 FROM device ORDER BY id FOR NO KEY UPDATE")

    with ThreadPoolExecutor(22) as pool:
        tasks = [pool.submit(end, running) for running in under_way] + [pool.submit(edit), pool.submit(hold)]
        for task in tasks:
            task.result(60)
    states = Counter(written.state if written else None for written in ended)
    assert states == {State.BLOCKED: 4, State.FAILED: 16}  # as each was told, before the four were freed
    assert fleet.row("credential_profile", profile).suspended_reason == "5 of 5 devices refused it"
    assert fleet.alarms() == [("login_refused", f"login {profile}")]
    assert blocked(fleet) == set()


# --- tried again ----------------------------------------------------------------------------------------------------


def test_one_device_that_has_not_refused_it_tries_it_again(fleet: Fleet) -> None:
    """When its time has come, and not before; while one does no other is claimed."""
    _, devices = suspended(fleet)
    fleet.workers(collect=5)
    assert not fleet.claims.claim(LIMITS).new  # type: ignore[union-attr]
    (row,) = trial(fleet)
    assert (row.trigger, row.device_id in devices[5:]) == ("trial", True)
    assert trial(fleet) == []


def test_who_has_refused_it_tries_it_only_if_nobody_else_is_left(fleet: Fleet) -> None:
    """A router counts failed logins: first those that have seen none, then the one whose refusal is the oldest."""
    _, devices = suspended(fleet, 5)
    fleet.workers(collect=5)
    fleet.sql("UPDATE device SET hold_until = NULL")
    assert [row.device_id for row in trial(fleet)] == [devices[0]]


def test_a_device_whose_turn_is_far_tries_it_before_one_that_has_refused_it(fleet: Fleet) -> None:
    """But not one that waits after a failure."""
    _, devices = suspended(fleet, 7)
    fleet.workers(collect=5)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '5 hours' WHERE id = ANY(:d)", d=devices[5:])
    fleet.sql("UPDATE device SET failures = 1 WHERE id = :d", d=devices[5])
    assert [row.device_id for row in trial(fleet)] == [devices[6]]


def test_who_has_worked_tries_it_before_who_never_has(fleet: Fleet) -> None:
    """A batch with another password came yesterday: those say nothing of the others, though they were not asked yet."""
    _, devices = suspended(fleet, 7)
    fleet.workers(collect=5)
    fleet.sql("UPDATE device SET hold_until = NULL")
    fleet.sql(
        "UPDATE device d SET current_seq = seq, current_collection_id = c.id FROM collection c "
        "WHERE c.device_id = d.id AND d.id = :d",
        d=devices[3],
    )
    assert [row.device_id for row in trial(fleet)] == [devices[3]]


def test_the_other_of_two_logins_is_tried_before_the_first_one_is_by_others(fleet: Fleet) -> None:
    """While they are rotated: else the new one, which may be the only one that works, would never be sent."""
    _, devices = suspended(fleet, 8)
    fleet.workers(collect=5)
    fleet.sql("UPDATE device SET refused_on = 'current', login_on = 'next' WHERE id = ANY(:d)", d=devices[6:])
    fleet.sql("UPDATE device SET next_due_at = now() + interval '6 minutes' WHERE id = :d", d=devices[6])
    assert [row.device_id for row in trial(fleet)] == [devices[7]]
    fleet.sql("UPDATE collection SET state = 'withdrawn' WHERE state = 'claimed'")
    fleet.sql("UPDATE device SET next_due_at = now() + interval '6 minutes' WHERE id <> :d", d=devices[5])
    assert [row.device_id for row in trial(fleet)] == [devices[5]]


def test_a_clock_that_is_set_back_does_not_let_one_trial_follow_another(fleet: Fleet) -> None:
    """The suspension lies ahead by then: its next trial is a quarter of an hour away, then as ever."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    fleet.sql("UPDATE credential_profile SET suspended_at = suspended_at + interval '1 day'")
    assert fleet.collections.end(begun(fleet, trial(fleet)[0]), REFUSED)
    row = fleet.row("credential_profile", profile)
    assert row.trial_at - row.suspended_at == 15 * MINUTE
    assert fleet.claims.claim(LIMITS).new == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("code", ["vault_unavailable", "login_unusable"])
def test_a_trial_whose_login_could_not_be_opened_lets_another_device_try(fleet: Fleet, code: str) -> None:
    """It was about to be sent, and was not: the login had no trial."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    (first,) = trial(fleet)
    due = fleet.row("credential_profile", profile).trial_at
    ending = Ending(State.FAILED, code, again_in=timedelta(0), pauses=code == "vault_unavailable")
    assert fleet.collections.end(begun(fleet, first), ending)
    assert fleet.row("credential_profile", profile).trial_at == due
    (second,) = fleet.claims.claim(LIMITS).new  # type: ignore[union-attr]
    assert fleet.row("collection", second.collection_id).device_id != first.device_id


def test_a_trial_that_sends_no_login_lets_another_device_try(fleet: Fleet) -> None:
    """It was not reached: that says nothing of the login, and the next one is asked at the next tick."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    (first,) = trial(fleet)
    due = fleet.row("credential_profile", profile).trial_at
    started = fleet.collections.start(CollectionId(first.id), "me")
    assert fleet.collections.end(started, UNREACHABLE)  # type: ignore[arg-type]
    assert fleet.row("credential_profile", profile).trial_at == due
    (second,) = fleet.claims.claim(LIMITS).new  # type: ignore[union-attr]
    assert fleet.row("collection", second.collection_id).device_id != first.device_id


def test_a_device_that_never_gets_to_a_trial_does_not_keep_the_others_from_it(fleet: Fleet) -> None:
    """One whose claim is withdrawn again and again is not claimed twice in one round."""
    suspended(fleet)
    fleet.workers(collect=5)
    (first,) = trial(fleet)
    fleet.sql("UPDATE collection SET state = 'withdrawn' WHERE id = :c", c=first.id)
    (second,) = fleet.claims.claim(LIMITS).new  # type: ignore[union-attr]
    assert fleet.row("collection", second.collection_id).device_id != first.device_id


@pytest.mark.parametrize("ending", [REFUSED, TIMED_OUT], ids=["refused", "no answer"])
def test_a_trial_in_vain_moves_the_next_one_on(fleet: Fleet, ending: Ending) -> None:
    """45 min after the suspension, then 75; nobody is blocked."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    for after in (45, 75, 135):
        began = timedelta(minutes={45: 15, 75: 45, 135: 75}[after], seconds=10)
        fleet.sql("UPDATE credential_profile SET suspended_at = now() - :after", after=began)
        assert fleet.collections.end(begun(fleet, trial(fleet)[0]), ending)
        row = fleet.row("credential_profile", profile)
        assert row.trial_at - row.suspended_at == timedelta(minutes=after)
    assert fleet.row("credential_profile", profile).trials == 3
    assert blocked(fleet) == set()


def _down_and_suspended(fleet: Fleet) -> tuple[UUID, UUID, list[DeviceId]]:
    """Five devices of a site refuse the login that all share, then the others do not answer: site, profile, devices."""
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 's') RETURNING id", t=fleet.tenant)
    profile, devices = shared(fleet, 12)
    fleet.sql("UPDATE device SET site_id = :s", s=site)
    under_way = [fleet.running(device) for device in devices[5:]]
    refuse(fleet, *devices[:5])
    for running in under_way:
        assert fleet.collections.end(running, UNREACHABLE)
    fleet.workers(collect=5)
    assert fleet.claims.claim(LIMITS).new == ()  # type: ignore[union-attr]
    assert fleet.row("site", site).down_since is not None
    fleet.sql("UPDATE device SET hold_until = NULL")
    return site, profile, devices


def test_a_site_that_is_down_and_its_login_do_not_wait_for_each_other(fleet: Fleet) -> None:
    """A trial asks the site too: what answers it and takes the login ends both."""
    site, profile, _ = _down_and_suspended(fleet)
    (row,) = trial(fleet)
    assert row.trigger == "trial"
    assert fleet.collections.publish(begun(fleet, row), published("A"))
    assert fleet.row("credential_profile", profile).suspended_at is None
    fleet.claims.claim(LIMITS)
    assert fleet.row("site", site).down_since is None


def test_a_site_that_is_dead_costs_no_trials(fleet: Fleet) -> None:
    """Nothing was sent: the login's trial is still due, at this site every five minutes, by two devices in turns."""
    site, profile, _ = _down_and_suspended(fleet)
    asked_there = []
    for probes in range(1, 5):
        (row,) = trial(fleet)
        due = fleet.row("credential_profile", profile).trial_at
        started = fleet.collections.start(CollectionId(row.id), "me")
        assert fleet.collections.end(started, UNREACHABLE)  # type: ignore[arg-type]
        assert fleet.claims.claim(LIMITS).new == ()  # type: ignore[union-attr]
        assert fleet.row("credential_profile", profile).trial_at == due
        there = fleet.row("site", site)
        assert (there.probes, there.probe_at > there.down_since) == (probes, True)
        asked_there.append(row.device_id)
        fleet.sql("UPDATE site SET probe_at = now() WHERE probe_at IS NOT NULL")
        fleet.sql("UPDATE device SET hold_until = NULL")
    assert asked_there[:2] == asked_there[2:]
    assert len(set(asked_there)) == 2
    assert ("site_down", f"site {site}") in fleet.alarms()


def test_a_device_elsewhere_tries_it_before_one_of_a_site_that_is_down(fleet: Fleet) -> None:
    """Even one that has refused it already: there somebody answers."""
    _, _, devices = _down_and_suspended(fleet)
    fleet.sql("UPDATE device SET site_id = NULL WHERE id = :d", d=devices[0])
    assert [row.device_id for row in trial(fleet)] == [devices[0]]


@pytest.mark.parametrize("sent", [True, False])
def test_a_trial_that_is_lost_counts_if_it_was_sent(fleet: Fleet, sent: bool) -> None:
    """Its collector vanished: what the router counted it has counted."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    (row,) = trial(fleet)
    due = fleet.row("credential_profile", profile).trial_at
    if sent:
        begun(fleet, row)
    else:
        fleet.collections.start(CollectionId(row.id), "me")
    fleet.expire(CollectionId(row.id))
    claimed = fleet.claims.claim(LIMITS)
    assert (claimed.lost, len(claimed.new)) == (1, 0 if sent else 1)  # type: ignore[union-attr]
    after = fleet.row("credential_profile", profile)
    assert after.trial_at == (after.suspended_at + 15 * MINUTE if sent else due)


def test_a_trial_that_is_taken_lets_all_have_it_again(fleet: Fleet) -> None:
    """The alarm is over, and those who wait are due one after another."""
    profile, devices = suspended(fleet, 25)
    fleet.workers(collect=5)
    assert fleet.collections.publish(begun(fleet, trial(fleet)[0]), published("A"))
    row = fleet.row("credential_profile", profile)
    assert (row.suspended_at, row.suspended_reason, row.trial_at, row.trials) == (None, None, None, 0)
    assert row.proved_at is not None
    assert fleet.alarms() == []
    due = fleet.sql("SELECT next_due_at - now() AS wait FROM device WHERE refused_at IS NOT NULL OR current_seq = 0")
    waits = sorted(one.wait for one in due if one.wait < timedelta(minutes=11))
    assert len(waits) == len(devices) - 1
    assert timedelta(minutes=1) < waits[-1] - waits[0] <= timedelta(minutes=10)


@pytest.mark.parametrize("code", ["command_rejected", "output_truncated"])
def test_what_comes_after_a_login_proves_it(fleet: Fleet, code: str) -> None:
    """A router that lets somebody in and then says no to a command has taken the login."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    assert fleet.collections.end(begun(fleet, trial(fleet)[0]), Ending(State.FAILED, code, "", True))
    assert fleet.row("credential_profile", profile).suspended_at is None


def test_a_success_by_force_proves_it_too(fleet: Fleet) -> None:
    """A person may try one device at once, whatever the login's state."""
    profile, devices = suspended(fleet)
    assert fleet.collections.publish(asked(fleet, devices[0], "forced"), published("A"))
    assert fleet.row("credential_profile", profile).suspended_at is None
    assert fleet.row("device", devices[0]).refused_at is None


def test_who_refuses_it_again_after_it_was_proved_is_blocked_and_counted_no_more(fleet: Fleet) -> None:
    """Their own passwords are wrong: five of them suspend nothing."""
    profile, devices = suspended(fleet)
    fleet.workers(collect=5)
    proves(fleet)
    refuse(fleet, *devices[:4])
    other, left = [d for d in devices[5:] if fleet.row("device", d).last_seq == 0]
    assert fleet.collections.publish(asked(fleet, other), published("A"))
    refuse(fleet, devices[4], left)
    assert fleet.row("credential_profile", profile).suspended_at is None
    assert blocked(fleet) == {*devices[:5], left}


def test_a_login_that_only_one_device_took_is_suspended_again(fleet: Fleet) -> None:
    """What knows the password was there for a moment: who refuses it again is not to blame, and tries begin anew."""
    profile, devices = suspended(fleet, 6)
    fleet.workers(collect=5)
    proves(fleet)
    assert fleet.collections.publish(asked(fleet, devices[5]), published("A"))  # the same device, once more
    under_way = asked(fleet, devices[4])
    refuse(fleet, *devices[:4])
    assert blocked(fleet) == set(devices[:4])
    assert fleet.collections.end(under_way, REFUSED)
    row = fleet.row("credential_profile", profile)
    assert row.trial_at - row.suspended_at == 15 * MINUTE
    assert blocked(fleet) == set()
    assert fleet.alarms() == [("login_refused", f"login {profile}")]


def test_who_refuses_it_again_while_it_is_suspended_again_waits_too(fleet: Fleet) -> None:
    """It was under way when five others had said so."""
    _, devices = suspended(fleet, 8)
    refuse_late = devices[5]
    assert fleet.collections.end(asked(fleet, refuse_late, "forced"), REFUSED)
    fleet.workers(collect=5)
    proves(fleet)
    under_way = asked(fleet, refuse_late)
    refuse(fleet, *devices[:5])
    assert fleet.collections.end(under_way, REFUSED)
    assert blocked(fleet) == set()


def test_a_wrong_password_is_sent_four_times_at_the_most(fleet: Fleet) -> None:
    """Where one device takes it, and all others refuse it as often as it is proved."""
    profile, devices = suspended(fleet, 6)
    fleet.workers(collect=5)
    for _ in range(2):
        proves(fleet)
        refuse(fleet, *devices[:5])
        assert fleet.row("credential_profile", profile).trial_at is not None
        assert blocked(fleet) == set()
    proves(fleet)
    refuse(fleet, *devices[:5])
    assert fleet.row("credential_profile", profile).suspended_at is None
    assert blocked(fleet) == set(devices[:5])


def test_those_that_have_not_refused_it_are_sent_it_first(fleet: Fleet) -> None:
    """And before who has never worked, who has: what they say tells whether it is the login, or the devices."""
    _, devices = shared(fleet, 20)
    fleet.observations.store([fleet.passed("A", device) for device in devices[-2:]])
    fleet.sql("UPDATE device SET next_due_at = now()")
    refuse(fleet, *devices[:5])
    fleet.sql("UPDATE device SET next_due_at = now() - interval '1 hour' WHERE id = ANY(:d)", d=devices[:5])
    fleet.workers(collect=5)
    (row,) = trial(fleet)
    assert fleet.collections.publish(begun(fleet, row), published("A"))
    others = fleet.sql("SELECT id FROM device WHERE id <> :d ORDER BY next_due_at", d=row.device_id)
    order = [device.id for device in others]
    assert {row.device_id, order[0]} == set(devices[-2:])
    assert set(order[-5:]) == set(devices[:5])


@pytest.mark.parametrize("since", ["host = 'elsewhere'", "router_since_seq = last_seq"], ids=["moved", "replaced"])
def test_what_another_router_said_proves_nothing(fleet: Fleet, since: str) -> None:
    """The device was moved, or its router replaced, while the trial ran."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    running = begun(fleet, trial(fleet)[0])
    fleet.sql(f"UPDATE device SET {since} WHERE id = :d", d=running.device_id)  # noqa: S608 - a constant
    if since.startswith("router"):
        assert fleet.collections.publish(running, published("A"))
    else:
        assert fleet.collections.end(running, Ending(State.FAILED, "command_rejected", "", True))
    assert fleet.row("credential_profile", profile).suspended_at is not None


def test_a_device_that_takes_it_is_as_if_it_never_had_refused(fleet: Fleet) -> None:
    """In a collection or a test: its next refusal counts as one among others again."""
    _, devices = suspended(fleet)
    fleet.workers(collect=5)
    assert fleet.collections.publish(begun(fleet, trial(fleet)[0]), published("A"))
    well = Ending(State.TESTED, "", report=(Step(Stage.LOGIN, well=True),))
    assert fleet.collections.end(asked(fleet, devices[0], "test"), well)
    assert fleet.row("device", devices[0]).refused_at is None
    assert fleet.row("device", devices[1]).refused_at is not None


# --- ended by a person ----------------------------------------------------------------------------------------------


ANOTHER = DeviceLogin("backup", "password", SealedSecret(SECRET))


@pytest.mark.parametrize(
    "decide",
    [
        scope_acts.profile_resumed,
        lambda there: scope_acts.profile_edited(there, Changes(), ANOTHER),
        lambda there: scope_acts.profile_edited(there, Changes(), DeviceLogin("other", "password", None)),
    ],
    ids=["resumed", "another secret", "another user"],
)
def test_a_person_ends_it_and_all_is_counted_anew(
    fleet: Fleet, decide: Callable[[ProfileRecord], ScopeUpdate | None]
) -> None:
    """All may have it at once; if they refuse it again, that suspends it again and blocks nobody."""
    profile, devices = suspended(fleet)
    act(fleet, decide)
    row = fleet.row("credential_profile", profile)
    assert (row.suspended_at, row.suspended_reason, row.trial_at) == (None, None, None)
    assert fleet.alarms() == []
    refuse(fleet, *devices[:4])
    assert fleet.row("credential_profile", profile).suspended_at is None
    refuse(fleet, devices[4])
    assert fleet.row("credential_profile", profile).trial_at is not None
    assert blocked(fleet) == set()


def test_a_person_may_keep_it_from_being_tried_at_all(fleet: Fleet) -> None:
    """Their word takes the place of what would end by itself."""
    profile, _ = suspended(fleet)
    fleet.workers(collect=5)
    record = act(fleet, lambda there: scope_acts.profile_suspended(there, "RADIUS is rebuilt"))
    assert isinstance(record, ProfileRecord)
    assert (record.suspended_reason, record.trial_at, record.waiting) == ("RADIUS is rebuilt", None, 8)
    assert trial(fleet) == []
    assert fleet.alarms() == []
    assert fleet.row("credential_profile", profile).suspended_at is not None


def test_a_secret_that_is_not_tried_at_once_leaves_the_trials_to_go_on(fleet: Fleet) -> None:
    """As an import sets it: one device finds out."""
    profile, _ = suspended(fleet)
    act(fleet, lambda there: scope_acts.profile_edited(there, Changes(), ANOTHER, tried=False))
    assert fleet.row("credential_profile", profile).trial_at is not None
    assert fleet.alarms() == [("login_refused", f"login {profile}")]


def test_another_login_of_a_device_says_nothing_of_what_it_refused(fleet: Fleet) -> None:
    """It is judged anew with the profile that it is given."""
    _, devices = suspended(fleet)
    fleet.login(name="others")
    from backupflow.core.enrolment import Edit, edited
    from backupflow.core.inventory import Placement

    assert fleet.act(devices[0], lambda there: edited(there, Edit(placement=Placement(profile="others")), None))
    assert fleet.row("device", devices[0]).refused_at is None
