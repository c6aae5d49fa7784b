"""The collector's view of one collection. Each move names the state it comes from, and its holder: that is the fence.

Lock order: device, then collection, then jump host, profile, site.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db import (
    contacts,
    endings,
    expected_keys,
    host_keys,
    jump_hosts,
    observed,
    refusals,
    suspensions,
)
from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import LOGIN, SETTINGS, hindrance, observes, usable_policy
from backupflow.adapters.db.engine import transaction, waited_in_vain
from backupflow.adapters.db.host_keys import Owner
from backupflow.adapters.db.left_over import OWED
from backupflow.adapters.db.meanwhile import THERE, Meanwhile, acted, as_assigned, learn_modern
from backupflow.adapters.db.rotating import SENT
from backupflow.core.ledger import COLLECTING, Assignment, Withdrawn
from backupflow.core.model import (
    CollectionId,
    DeviceId,
    EndMark,
    HostKey,
    LoginOn,
    SealedSecret,
    Secrets,
    SecretsPolicy,
    Seq,
    Target,
    TenantId,
    Trigger,
    TrustedHow,
)
from backupflow.errors import (
    BackupflowError,
    InputInvalid,
    LeaseLost,
    LoginSuspended,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ledger import Ending, Published
    from backupflow.core.scope import Policy

SECRETS_HIDDEN = "secrets_hidden"  # code of an alarm
REPLACED = "the router was replaced since it was claimed"  # why a claim is withdrawn
LEASE_MARGIN = timedelta(milliseconds=500)  # for the session to be closed
LEASE_GRACE = timedelta(seconds=60)  # beyond the session's deadline: sealing and the fence
SHORTEST_GRACE = timedelta(seconds=1)  # a lease always outlasts its session

_LOCK = text("""
    SELECT d.id FROM device d JOIN collection c ON c.device_id = d.id WHERE c.id = :collection
    FOR NO KEY UPDATE OF d""")
_LOAD = text(f"""
    SELECT c.seq, c.tenant_id, c.trigger, d.id AS device_id, d.name, d.host, d.port, d.driver, d.failures, d.losses,
        d.remembered_command, d.router_since_seq, d.believe_seq, d.end_mark, d.modern_ssh_at, d.via_id,
        {SETTINGS}, {contacts.MET}, t.pepper, {hindrance("c.trigger")} AS hindrance,
        l.id AS login_id, l.device_id AS login_device_id, {SENT}, k.key_type, k.blob
    FROM collection c JOIN device d ON d.id = c.device_id {LOGIN}
    LEFT JOIN host_key k ON k.device_id = d.id AND k.status = 'pinned'
    WHERE c.id = :collection AND c.state = 'claimed'""")
# By the clock, not by the transaction's beginning: it may have waited for its lock since then, and the lease must
# outlast a session that begins now.
_START = text("""
    UPDATE collection SET state = 'running', holder = :holder, started_at = clock_timestamp(),
        lease_until = clock_timestamp() + :lease, via_id = :via
    WHERE id = :collection AND state = 'claimed' RETURNING id""")
_WITHDRAW = text("""
    UPDATE collection SET state = 'withdrawn', code = 'withdrawn', detail = :reason, ended_at = now()
    WHERE id = :collection AND state = 'claimed'""")
_HELD = text(f"""
    SELECT {THERE} AS there FROM collection c JOIN device d ON d.id = c.device_id {LOGIN}
    WHERE c.id = :collection AND c.state = 'running' AND c.holder = :holder""")
_PUBLISH = text(f"""
    UPDATE collection SET state = 'published', {observed.SET}, log_sealed = :log, lease_until = NULL
    WHERE id = :collection AND state = 'running' AND holder = :holder AND {observes("trigger")} RETURNING id""")
# What is learnt of a router that was replaced meanwhile is nothing that the one in its place is known by.
_SUCCEEDED = text("""
    UPDATE device SET failures = 0, lane = 'collect',
        remembered_command = CASE WHEN router_since_seq < :seq THEN :command ELSE remembered_command END,
        end_mark = CASE WHEN router_since_seq < :seq THEN :end_mark ELSE end_mark END
    WHERE id = :device""")
# What was raised because nobody could work with the device is over when somebody did; so is a vault that refused the
# collectors. A bus that did is over when ingest has what came through it.
_USABLE = text("""
    UPDATE alarm SET cleared_at = now()
    WHERE cleared_at IS NULL AND (
        scope = :scope AND code IN ('settings_unusable', 'row_unusable', 'unexpected', 'export_suspect', 'device_down')
        OR scope = :collecting AND code IN ('vault_unavailable', 'transit_key_missing'))""")


Did = TypeVar("Did")


class Collections:
    """core.ports.CollectionStore. `defaults` are the global settings; a lease is a session's deadline and `grace`.

    `grace` is at least a second, whatever is given.
    """

    def __init__(self, engine: Engine, defaults: Policy, grace: timedelta = LEASE_GRACE) -> None:
        self._engine = engine
        self._defaults = defaults
        self._grace = max(grace, SHORTEST_GRACE)

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """claimed -> running with a lease, or -> withdrawn; None if the claim is gone."""
        with transaction(self._engine) as tx:
            tx.execute(_LOCK, {"collection": collection_id})
            row = tx.execute(_LOAD, {"collection": collection_id}).one_or_none()
            if row is None:
                return None
            # Nothing of the router before is compared with, nor learnt from a row that it was claimed for.
            hindrance = row.hindrance or (REPLACED if row.seq <= row.router_since_seq else None)
            if hindrance:
                if Trigger(row.trigger).observes:
                    tx.execute(OWED, {"device": row.device_id})
                return _withdraw(tx, collection_id, hindrance)
            try:
                policy = usable_policy(self._defaults, row)
                assignment = _assignment(tx, collection_id, holder, row, policy)
                if row.via_id is not None:
                    assignment = replace(assignment, jump_host=jump_hosts.assigned(tx, row.via_id, self._defaults))
            except BackupflowError as exc:  # a row that nobody can work with must not be emitted for ever
                code = "settings_unusable" if isinstance(exc, InputInvalid) else "row_unusable"
                raise_alarm(tx, code, f"device {row.device_id}", exc.detail, row.tenant_id)
                return _withdraw(tx, collection_id, f"{code}: {exc.detail}")
            lease = policy.timeouts.deadline + self._grace
            # Before the row has its lease, so that the session ends first whatever the time between was spent on (I4).
            not_after = time.monotonic() + lease.total_seconds() - LEASE_MARGIN.total_seconds()
            values = {"collection": collection_id, "holder": holder, "lease": lease, "via": row.via_id}
            if tx.scalar(_START, values) is None:
                return None
            contacts.meet(tx, row.device_id, row, policy.timetable.period(row.clock))
            return replace(assignment, target=replace(assignment.target, not_after=not_after))

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """Commit a first-seen key, before any login is sent, unless a person has to compare it by now (I6)."""
        with transaction(self._engine) as tx:
            _lock_held(tx, assignment)
            meanwhile = acted(tx, assignment, self._defaults)
            if meanwhile.trust is None:
                raise LoginSuspended("the settings of the device are unusable since the collection began")
            host_keys.pin_first(tx, Owner.device(assignment), key, how, meanwhile.trust)

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """Looked at right before the login is sent: device, address, pinned key or login may be others by now.

        A login that is allowed is on record as sent.
        """
        with transaction(self._engine) as tx:
            return refusals.sent(tx, assignment, key)

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """Commit a jump host's first key, before any login is sent to it (I6)."""
        with transaction(self._engine) as tx:
            _lock_held(tx, assignment)
            jump_hosts.pin(tx, assignment, key, how, self._defaults)

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """Looked at right before the jump host's login is sent."""
        with transaction(self._engine) as tx:
            return jump_hosts.allowed(tx, assignment, key)

    def jump_host_reached(self, assignment: Assignment) -> None:
        """A session has passed its jump host: it is in no trouble any more, unless it is blocked."""
        with transaction(self._engine) as tx:
            jump_hosts.reached(tx, assignment)

    def publish(self, assignment: Assignment, published: Published) -> bool:
        """running -> published: the fence. False: the lease is gone.

        Raises LoginSuspended if it was read of what is not the device any more, or shows what is to be left out now.
        """
        return self._locked(assignment, lambda tx: _publish(tx, assignment, published, self._defaults))

    def end(self, assignment: Assignment, ending: Ending) -> Ending | None:
        """running (or published, after a definite refusal) -> a final state, as written; None: the lease is gone.

        What was read and is kept aside is written in the same transaction.
        """
        written = self._locked(assignment, lambda tx: endings.end(tx, assignment, ending, self._defaults))
        if written is not None and refusals.of_shared(assignment, ending):
            with suppress(StoreUnavailable), transaction(self._engine) as tx:  # else the next trial does it
                suspensions.free_the_rest(tx, assignment.login_id)
        return written

    def _locked(self, assignment: Assignment, act: Callable[[Connection], Did]) -> Did:
        """Act under the device's lock, and wait for it for as long as the lease lasts.

        An act on many devices may keep it beyond a transaction's patience. What is known by then, such as that a login
        was refused (I7), must not get lost over it: the next session would find it out once more.
        """
        while True:
            try:
                with transaction(self._engine) as tx:
                    tx.execute(_LOCK, {"collection": assignment.collection_id})
                    return act(tx)
            except StoreUnavailable as exc:
                if not waited_in_vain(exc) or time.monotonic() >= (assignment.target.not_after or 0):
                    raise


def _publish(tx: Connection, assignment: Assignment, published: Published, defaults: Policy) -> bool:
    values: dict[str, Any] = {"collection": assignment.collection_id, "holder": assignment.holder}
    values["log"] = published.log.text if published.log else None
    if tx.execute(_PUBLISH, values | observed.columns(published)).scalar() is None:
        return False
    meanwhile = acted(tx, assignment, defaults)
    _refuse_stale(meanwhile)
    if not meanwhile.another:
        refusals.taken(tx, assignment)
    _learnt(tx, assignment, published)
    contacts.succeeded(tx, assignment)
    if published.modern_ssh:
        learn_modern(tx, assignment, meanwhile)
    host_keys.verified(tx, assignment, published.host_key)
    tx.execute(_USABLE, {"scope": f"device {assignment.device_id}", "collecting": COLLECTING})
    return True


def _withdraw(tx: Connection, collection_id: CollectionId, reason: str) -> Withdrawn:
    tx.execute(_WITHDRAW, {"collection": collection_id, "reason": reason})
    return Withdrawn(reason)


def _refuse_stale(meanwhile: Meanwhile) -> None:
    """An old session's export is not published: what was written with it is rolled back, and its row ends as a pause.

    But for a router that was replaced: that is the last there will ever be of it, at the same address and behind a key
    that was trusted, and it goes into the history by its seq, where nothing of the next one is compared with it.
    """
    if meanwhile.elsewhere:
        raise LoginSuspended("the device was moved or removed since the collection began")
    if meanwhile.omits or meanwhile.unusable:
        raise LoginSuspended("its secrets are to stay on the router, or its settings are unusable, since it began")


def _learnt(tx: Connection, assignment: Assignment, published: Published) -> None:
    """What an accepted observation says of the device, beside its text."""
    values = {
        "device": assignment.device_id,
        "seq": assignment.seq,
        "command": published.command,
        "end_mark": published.end_mark,
    }
    tx.execute(_SUCCEEDED, values)
    scope = f"device {assignment.device_id}"
    if published.observed.secrets is Secrets.HIDDEN:
        detail = (
            f"{assignment.device_name}: the router leaves its secrets out; "
            "add `sensitive` to the policy of the user's group"
        )
        raise_alarm(tx, SECRETS_HIDDEN, scope, detail, assignment.tenant_id)
    else:
        clear_alarm(tx, SECRETS_HIDDEN, scope)


def _lock_held(tx: Connection, assignment: Assignment) -> None:
    tx.execute(_LOCK, {"collection": assignment.collection_id})
    values = {"collection": assignment.collection_id, "holder": assignment.holder}
    there = tx.scalar(_HELD, values | as_assigned(assignment))
    if there is None:
        raise LeaseLost
    if not there:
        raise LoginSuspended("the device has another address since the collection began")


def _target(tx: Connection, row: Row[Any], policy: Policy) -> Target:
    pinned = HostKey(row.key_type, bytes(row.blob)) if row.blob else None
    return Target(
        row.host,
        row.port,
        pinned,
        policy.legacy_ssh,
        policy.timeouts,
        policy.max_bytes,
        spoke_modern=row.modern_ssh_at is not None,
        expected=() if pinned else expected_keys.expected_of(tx, row.device_id),
    )


def _assignment(tx: Connection, collection_id: CollectionId, holder: str, row: Row[Any], policy: Policy) -> Assignment:
    known = observed.known_of(tx, row.device_id, row.router_since_seq, row.believe_seq, row.driver)
    return Assignment(
        collection_id=collection_id,
        holder=holder,
        tenant_id=TenantId(row.tenant_id),
        device_id=DeviceId(row.device_id),
        device_name=row.name,
        seq=Seq(row.seq),
        driver=row.driver,
        target=_target(tx, row, policy),
        trust=policy.trust,
        username=row.username or "",
        login_id=row.login_id,
        sealed_login=SealedSecret(row.sealed) if row.sealed else None,
        login_context=row.login_device_id or row.login_id,
        sealed_pepper=SealedSecret(row.pepper),
        remembered_command=row.remembered_command,
        failures=row.failures,
        losses=row.losses,
        secrets=policy.secrets,
        asks_end_mark=policy.end_mark,
        end_mark=EndMark(row.end_mark),
        asks_who=policy.who and policy.secrets is SecretsPolicy.COLLECT,  # a log may hold what is to stay there
        known=known,
        login_changed_at=row.changed_at,
        trigger=Trigger(row.trigger),
        login_on=LoginOn(row.login_on),
        login_shared=bool(row.login_shared),
        login_rotates=bool(row.login_rotates),
    )
