"""Two ledgers that are asked the same: PostgreSQL by its adapters, and the one in memory; they must never differ.

PostgreSQL is given a clock that is set by hand, so that every time in every row can be compared.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import text

from backupflow.adapters.db.keys import Keys
from backupflow.core.ledger import Assignment, Claimed, Kind
from backupflow.core.model import CollectionId, TrustedHow
from backupflow.errors import BackupflowError
from tests.integration.db.fleet import Fleet, migrated
from tests.unit.flows.ledger import HOP, MARKS, PEPPER, POLICY, TENANT, Ledger
from tests.unit.flows.picture import DevicePicture, HopPicture, Picture, RowPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta
    from pathlib import Path

    from sqlalchemy import Connection, Row

    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.core.ledger import Ending, Limits, Published, Stored, Withdrawn
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import Claim, DeviceId, HostKey, Purpose, TenantId
    from backupflow.embedded import Servers
    from tests.unit.flows.ledger import Clock

T = TypeVar("T")

_HAND = "RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT at FROM clock.hand'"
_CLOCK = (
    "CREATE SCHEMA clock",
    "CREATE TABLE clock.hand (at timestamptz NOT NULL)",
    "INSERT INTO clock.hand VALUES (now())",
    f"CREATE FUNCTION clock.now() {_HAND}",
    f"CREATE FUNCTION clock.clock_timestamp() {_HAND}",
    "GRANT USAGE ON SCHEMA clock TO PUBLIC",
    "GRANT SELECT ON clock.hand TO PUBLIC",
    # What a column begins with was bound to the server's own clock when the table was made.
    """DO $$ DECLARE one record; BEGIN
        FOR one IN SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND column_default = 'now()' LOOP
            EXECUTE format('ALTER TABLE %I ALTER %I SET DEFAULT clock.now()', one.table_name, one.column_name);
        END LOOP;
        EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public', current_database());
    END $$""",
)
_DEVICES = text("SELECT * FROM device ORDER BY id")
_KEYS = text("SELECT device_id, status, blob FROM host_key WHERE status <> 'retired' ORDER BY device_id")
_HOPS = text("""
    SELECT h.*, k.blob FROM jump_host h LEFT JOIN host_key k ON k.jump_host_id = h.id AND k.status = 'pinned'""")
_ROWS = text("SELECT * FROM collection ORDER BY device_id, seq")
_CONTENTS = text("SELECT device_id, content_hash, sealed, first_seq FROM content ORDER BY device_id")
_REQUESTS = text("""
    SELECT r.device_id, r.answer, c.seq FROM request r LEFT JOIN collection c ON c.id = r.collection_id
    ORDER BY r.device_id, r.id""")
# The rule of retention, as it is written down: whole prefixes, never the current one.
_RETAIN = (
    "UPDATE device SET kept_from_seq = greatest(kept_from_seq, :cut) WHERE id = :device",
    "DELETE FROM collection WHERE device_id = :device AND seq < :cut AND ended_at IS NOT NULL",
    """UPDATE collection SET is_change = TRUE WHERE device_id = :device AND seq = (
        SELECT min(seq) FROM collection WHERE device_id = :device AND state = 'stored')""",
    """DELETE FROM content c WHERE c.device_id = :device
        AND NOT EXISTS (SELECT 1 FROM collection r WHERE r.content_id = c.id)""",
)


@contextmanager
def clocked(servers: Servers, secrets_dir: Path) -> Iterator[Fleet]:
    """A migrated database whose time stands still until it is set."""
    with migrated(servers, secrets_dir) as fleet:
        with fleet.admin.begin() as tx:
            for statement in _CLOCK:
                tx.execute(text(statement))
        fleet.admin.dispose()
        yield fleet


class Twin:
    """Every port of the ledger, answered by both; a difference is an error. See tests.unit.flows.machine.World."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._memory = Ledger(clock)
        self._memory.number = self._number
        self._began: dict[CollectionId, Assignment] = {}  # the assignments as the ledger in memory knows them
        fleet.empty()
        fleet.policy = POLICY
        fleet.sql("DELETE FROM job")
        self._set_clock()
        fleet.sql("INSERT INTO tenant (id, name, pepper) VALUES (:t, 'main', :p)", t=TENANT, p=PEPPER.text)
        fleet.__dict__["tenant"] = TENANT
        for (tenant, purpose), mark in MARKS.items():
            insert = "INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:t, :p, :m)"
            fleet.sql(insert, t=tenant, p=purpose, m=mark)
        fleet.workers(collect=10, collect_slow=10)
        fleet.jump_host(id=HOP, name="hop", host="hop", key=None, reached_at=None)

    def _number(self, device_id: DeviceId, seq: int) -> CollectionId:
        found = "SELECT id FROM collection WHERE device_id = :d AND seq = :s"
        return CollectionId(self._fleet.value(found, d=device_id, s=seq))

    def _set_clock(self) -> None:
        self._fleet.sql("UPDATE clock.hand SET at = :at", at=self._memory.clock())
        self._fleet.sql("UPDATE process SET heartbeat_at = :at", at=self._memory.clock())

    # --- ClaimStore, CollectionStore -----------------------------------------------------------------------------

    def claim(self, limits: Limits) -> Claimed | None:
        """ClaimStore. How often a device was met is no matter here: the ledger in memory knows of no firewalls."""
        self._fleet.sql("UPDATE device SET met_at = NULL, hold_until = NULL, wary_until = NULL")
        real = self._fleet.claims.claim(limits)
        assert real is not None
        meant = self._memory.claim(limits)
        assert meant is not None
        _agree(_told(real), _told(meant))
        return real

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """CollectionStore."""
        collections = self._fleet.collections
        real, meant = self._both(
            lambda: collections.start(collection_id, holder), lambda: self._memory.start(collection_id, holder)
        )
        if isinstance(real, Assignment) and isinstance(meant, Assignment):
            _agree(_said(real), _said(meant))
            self._began[collection_id] = meant
        else:
            _agree(real, meant)
        return real

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        self._both(lambda: self._fleet.collections.pin(assignment, key, how), lambda: self._memory.pin(began, key, how))

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        return self._same(
            lambda: self._fleet.collections.login_allowed(assignment, key),
            lambda: self._memory.login_allowed(began, key),
        )

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        self._both(
            lambda: self._fleet.collections.pin_jump_host(assignment, key, how),
            lambda: self._memory.pin_jump_host(began, key, how),
        )

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        return self._same(
            lambda: self._fleet.collections.jump_login_allowed(assignment, key),
            lambda: self._memory.jump_login_allowed(began, key),
        )

    def jump_host_reached(self, assignment: Assignment) -> None:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        self._both(
            lambda: self._fleet.collections.jump_host_reached(assignment),
            lambda: self._memory.jump_host_reached(began),
        )

    def publish(self, assignment: Assignment, published: Published) -> bool:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        return self._same(
            lambda: self._fleet.collections.publish(assignment, published),
            lambda: self._memory.publish(began, published),
        )

    def end(self, assignment: Assignment, ending: Ending) -> Ending | None:
        """CollectionStore."""
        began = self._began[assignment.collection_id]
        return self._same(
            lambda: self._fleet.collections.end(assignment, ending), lambda: self._memory.end(began, ending)
        )

    # --- ObservationStore, KeyLedger -----------------------------------------------------------------------------

    def store(self, batch: Sequence[SnapshotMessage]) -> list[Stored]:
        """ObservationStore."""
        return self._same(lambda: self._fleet.observations.store(batch), lambda: self._memory.store(batch))

    def lose_published(self, older_than: timedelta) -> int:
        """ObservationStore."""
        return self._same(
            lambda: self._fleet.observations.lose_published(older_than), lambda: self._memory.lose_published(older_than)
        )

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> dict[tuple[TenantId, Purpose], str]:
        """ObservationStore."""
        return self._same(
            lambda: self._fleet.observations.expected_marks(batch), lambda: self._memory.expected_marks(batch)
        )

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """KeyLedger."""
        return self._same(Keys(self._fleet.engine("scheduler")).all_marks, self._memory.all_marks)

    # --- time, the operator, and retention -----------------------------------------------------------------------

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self._memory.advance(by)
        self._set_clock()

    def add(self, device_id: DeviceId, name: str, *, behind: bool = False) -> None:
        """Enrol a device; it is due at once."""
        none = self._memory.clock() - self._memory.clock()
        hop = {"jump_host_id": HOP} if behind else {}
        self._fleet.device(login=False, id=device_id, name=name, host=name, driver="toy", due=none, **hop)
        self._fleet.login(device_id)
        self._memory.add(device_id, name, behind=behind)

    def mend_jump_host(self) -> None:
        """An operator forgets its key and its block."""
        self._fleet.sql("UPDATE host_key SET status = 'retired' WHERE jump_host_id IS NOT NULL")
        self._fleet.sql("UPDATE jump_host SET blocked_code = NULL, retry_at = NULL, reached_at = NULL")
        self._memory.mend_jump_host()

    def act(self, device_id: DeviceId, decide: Callable[[DeviceRecord], Update | None]) -> bool:
        """DeviceStore.change."""
        return self._same(
            lambda: self._fleet.act(device_id, decide),
            lambda: self._memory.act(device_id, decide),
        )

    def ask(self, device_id: DeviceId, kind: Kind = Kind.BACKUP) -> None:
        """RequestStore."""
        self._fleet.request(device_id, kind)
        self._memory.ask(device_id, kind)

    def retain(self, device_id: DeviceId, cut: int) -> None:
        """Take away what is final below a cut."""
        with self._fleet.engine("operator").begin() as tx:
            for statement in _RETAIN:
                values = {"device": device_id, "cut": cut}
                tx.execute(text(statement), {name: values[name] for name in values if f":{name}" in statement})
        self._memory.retain(device_id, cut)

    # --- how -----------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """What both show."""
        with self._fleet.admin.begin() as tx:
            real = _picture(tx)
        meant = self._memory.picture()
        for key, device in meant.items():
            _agree(real[key], device)
        assert set(real) == set(meant)
        return meant

    def _both(self, real: Callable[[], T], meant: Callable[[], T]) -> tuple[T, T]:
        """Ask both; an error of ours has to come from both, or from none."""
        answers: list[T] = []
        errors: list[BackupflowError] = []
        for ask in (real, meant):
            try:
                answers.append(ask())
            except BackupflowError as exc:
                errors.append(exc)
        if errors:
            _agree([(type(exc), exc.detail) for exc in errors], [(type(errors[0]), errors[0].detail)] * 2)
            raise errors[0]
        return answers[0], answers[1]

    def _same(self, real: Callable[[], T], meant: Callable[[], T]) -> T:
        answers = self._both(real, meant)
        _agree(*answers)
        return answers[0]


def _agree(real: object, meant: object) -> None:
    assert real == meant, f"PostgreSQL: {real}\nin memory:  {meant}"


def _told(claimed: Claimed) -> tuple[set[Claim], set[Claim], int, int]:
    return set(claimed.new), set(claimed.again), claimed.lost, claimed.withdrawn


def _said(assignment: Assignment) -> Assignment:
    """But for the logins' numbers, and the deadline by the clock of the process."""
    hop = assignment.jump_host and replace(assignment.jump_host, login_id=TENANT)
    return replace(assignment, login_id=TENANT, target=replace(assignment.target, not_after=None), jump_host=hop)


def _picture(tx: Connection) -> Picture:
    keys, rows, contents, requests = (_by_device(tx.execute(one)) for one in (_KEYS, _ROWS, _CONTENTS, _REQUESTS))
    hops = {one.id: _hop(one) for one in tx.execute(_HOPS)}
    return {
        d.id: DevicePicture(
            d.status, d.blocked_code, d.failures, d.losses, d.lane, d.last_seq, d.kept_from_seq, d.current_seq,
            d.next_due_at, d.remembered_command, d.router_since_seq, d.believe_seq, d.modern_ssh_at,
            frozenset((one.status, bytes(one.blob)) for one in keys.get(d.id, ())),
            tuple(_row(one) for one in rows.get(d.id, ())),
            frozenset((bytes(one.content_hash), one.sealed, one.first_seq) for one in contents.get(d.id, ())),
            tuple((one.answer, one.seq) for one in requests.get(d.id, ())),
            hops.get(d.via_id),
        )
        for d in tx.execute(_DEVICES)
    }  # fmt: skip


def _hop(row: Row[Any]) -> HopPicture:
    pinned = None if row.blob is None else bytes(row.blob)
    return HopPicture(row.failures, row.down_since, row.retry_at, row.blocked_code, row.reached_at, pinned)


def _row(row: Row[Any]) -> RowPicture:
    return RowPicture(
        row.seq, row.state, row.code, row.trigger, row.lane, row.emits, row.emitted_at, row.lease_until,
        row.collected_at, row.ended_at, row.is_change, None if row.content_hash is None else bytes(row.content_hash),
    )  # fmt: skip


def _by_device(rows: Iterable[Row[Any]]) -> dict[DeviceId, list[Row[Any]]]:
    return {key: list(group) for key, group in groupby(rows, lambda row: row.device_id)}
