"""`verify` and its daily job: what was altered in the database is found and named, and nothing else is."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from backupflow import telemetry
from backupflow.adapters.db import verifying
from backupflow.adapters.db.tables import metadata
from backupflow.adapters.db.verifying import Verifying
from backupflow.cli.exits import Exit
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, SealedConfig, TenantId
from backupflow.core.verification import Kept, Wanted
from backupflow.errors import StoreUnavailable, TransitKeyMissing
from backupflow.flows import enroll, maintain
from backupflow.flows import verify as flow
from backupflow.flows.verify import Watching
from backupflow.tasks import maintain as door
from tests.conftest import copied_database, install_on
from tests.integration.scene import Ran, export_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from backupflow.core.driver import Driver
    from backupflow.core.verification import Finding, Flaw, Standing, Verified
    from backupflow.embedded import Servers
    from tests.conftest import Install
    from tests.integration.scene import Scene

TEXTS = [export_text(word) for word in ("one", "one", "two", "one", "three")]  # contents 1, 3 and 5
ASIDE = export_text("cut")
LONG_AGO = """WITH a AS (UPDATE aside SET verified_at = NULL)
    UPDATE content SET verified_at = now() - interval '1 day'"""
OF = "(SELECT d.id FROM device d WHERE d.name = '{}')"
FIRST, OTHER = OF.format("core-1"), OF.format("core-2")
FLIP = "overlay(sealed PLACING CASE substr(sealed, 40, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 40)"  # one character

# What was altered -> the statement, as whom, and what is found: device, snapshot, aside, a word of why.
ALTERED: dict[str, tuple[str, list[tuple[str, int, bool, str]]]] = {
    "a bit of a sealed text": (
        f"UPDATE content SET sealed = {FLIP} WHERE first_seq = 3 AND device_id = {FIRST}",
        [("core-1", 3, False, "altered")],
    ),
    "a sealed text that is none": (
        f"UPDATE content SET sealed = sealed || ' ' WHERE first_seq = 3 AND device_id = {FIRST}",
        [("core-1", 3, False, "not a sealed text")],
    ),
    "the version in a sealed text": (
        f"UPDATE content SET sealed = replace(sealed, ':v1:', ':v7:') WHERE first_seq = 3 AND device_id = {FIRST}",
        [("core-1", 3, False, "version")],
    ),
    "two rows of a device": (
        f"""UPDATE content a SET sealed = b.sealed FROM content b WHERE a.device_id = {FIRST}
            AND b.device_id = a.device_id AND (a.first_seq, b.first_seq) IN ((1, 3), (3, 1))""",
        [("core-1", 1, False, "names another"), ("core-1", 3, False, "names another")],
    ),
    "two rows of a device, hashes and all": (
        f"""UPDATE collection a SET content_id = b.content_id FROM collection b WHERE a.device_id = {FIRST}
            AND b.device_id = a.device_id AND (a.seq, b.seq) IN ((3, 5), (5, 3))""",
        [("core-1", 3, False, "another hash"), ("core-1", 5, False, "another hash")],
    ),
    "two rows of two devices": (
        """UPDATE content a SET sealed = b.sealed FROM content b WHERE a.first_seq = 1 AND b.first_seq = 1
            AND a.device_id <> b.device_id""",
        [("core-1", 1, False, "another place"), ("core-2", 1, False, "another place")],
    ),
    "a hash": (
        f"UPDATE content SET content_hash = sha256(content_hash) WHERE first_seq = 5 AND device_id = {FIRST}",
        [("core-1", 5, False, "hash")],
    ),
    "a hash, in every row": (
        f"""WITH c AS (UPDATE collection SET content_hash = sha256(content_hash)
                WHERE seq IN (1, 2, 4) AND device_id = {FIRST})
            UPDATE content SET content_hash = sha256(content_hash) WHERE first_seq = 1 AND device_id = {FIRST}""",
        [("core-1", 1, False, "does not have the hash")],
    ),
    "a current one": (
        """UPDATE device SET current_seq = 3, current_collection_id = (
            SELECT id FROM collection WHERE seq = 3 AND device_id = device.id) WHERE name = 'core-1'""",
        [("core-1", 5, False, "snapshot 3 is the current one")],
    ),
    "a change that was one": (
        f"UPDATE collection SET is_change = false WHERE seq = 4 AND device_id = {FIRST}",
        [("core-1", 4, False, "differs from the one before it")],
    ),
    "a change that was none": (
        f"UPDATE collection SET is_change = true WHERE seq = 2 AND device_id = {FIRST}",
        [("core-1", 2, False, "equals the one before it")],
    ),
    "a change that nobody decided": (
        f"UPDATE collection SET is_change = NULL WHERE seq = 2 AND device_id = {FIRST}",
        [("core-1", 2, False, "equals the one before it")],
    ),
    "the oldest one": (
        f"UPDATE collection SET is_change = false WHERE seq = 1 AND device_id = {FIRST}",
        [("core-1", 1, False, "oldest")],
    ),
    "a content without a row": (
        f"UPDATE collection SET state = 'lost' WHERE seq = 3 AND device_id = {FIRST}",
        [("core-1", 3, False, "no collection refers"), ("core-1", 4, False, "equals the one before it")],
    ),
    "what was kept aside": (f"UPDATE aside SET sealed = {FLIP}", [("core-1", 6, True, "altered")]),
    "what was kept aside, by a content": (
        f"UPDATE aside SET sealed = k.sealed FROM content k WHERE k.first_seq = 5 AND k.device_id = {FIRST}",
        [("core-1", 6, True, "names another")],
    ),
}


@pytest.fixture(scope="module")
def town(servers: Servers, postgres_roles: Path, vault_roles: Path) -> Iterator[Install]:
    """One install for all tests of this file: to copy a database for each takes longer than what is tested."""
    with copied_database(servers, postgres_roles) as database:
        made = install_on(servers, database, vault_roles)
        yield made
        made.wiring.close()


@pytest.fixture
def install(town: Install, servers: Servers) -> Install:
    """The same install with nothing in it but a tenant of this test."""
    address = servers.addresses.postgres
    assert address
    where = psycopg.conninfo.make_conninfo(
        host=address.host, port=address.port, dbname=town.database.name, user="admin"
    )
    password = servers.secret_path("admin.postgres").read_text(encoding="utf-8").strip()
    with psycopg.connect(where, password=password) as admin:
        admin.execute("SET session_replication_role = replica")
        for table in metadata.tables:
            admin.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
        admin.execute("INSERT INTO job (name, every) VALUES ('reconcile', '5 minutes'), ('verify', '1 day')")
    town.wiring.make_tenant()
    return town


@pytest.fixture
def kept(scene: Scene) -> Scene:
    """Two devices with a history, and something kept aside."""
    first, other = scene.add(), scene.add("core-2", "192.0.2.2")
    for raw in TEXTS:
        scene.observe(first, raw)
    scene.observe(other, export_text("of another device"))
    scene.doubt(first, ASIDE)
    return scene


@pytest.fixture
def few(scene: Scene) -> Scene:
    """One device with two contents."""
    device = scene.add()
    for word in ("one", "two"):
        scene.observe(device, export_text(word))
    return scene


def found(ran: Ran) -> list[tuple[str, int, bool, str]]:
    """Which ones, and why."""
    return [(one["device"], one["snapshot"], one["aside"], one["why"]) for one in json.loads(ran.out)["findings"]]


def assert_found(ran: Ran, expected: list[tuple[str, int, bool, str]], what: str = "") -> None:
    """These and no others, each with the word that says why."""
    compare(found(ran), expected, what)
    assert ran.code == (Exit.WRONG if expected else Exit.OK)


def assert_same(listed: list[Finding], expected: list[tuple[str, int, bool, str]], what: str) -> None:
    """The same of what was told."""
    compare([(one.device_name, one.seq, one.aside, one.why) for one in listed], expected, what)


def compare(listed: list[tuple[str, int, bool, str]], expected: list[tuple[str, int, bool, str]], what: str) -> None:
    """In any order."""
    findings = sorted(listed)
    assert [one[:3] for one in findings] == [one[:3] for one in expected], what
    for one, wanted in zip(findings, expected, strict=True):
        assert wanted[3] in one[3], what


def alarms(scene: Scene) -> list[str]:
    """What stands of damaged snapshots."""
    return [
        row.scope
        for row in scene.rows("SELECT scope FROM alarm WHERE code = 'snapshot_damaged' AND cleared_at IS NULL")
    ]


def daily(scene: Scene, share: float = 1.0, watching: Watching | None = None) -> maintain.Ran:
    """The job, as the maintain worker runs it but for the setting of its share."""
    wiring = scene.install.wiring
    ports = partial(wiring.verify_ports, "job")
    job = {"verify": lambda: maintain.verify_part(ports(), share, watching or Watching())}
    return maintain.run("verify", wiring.house, job)


def looked(scene: Scene, share: float = 1.0, **ports: object) -> tuple[Verified, list[Finding]]:
    """What a person is told by the flow behind the command; `ports` instead of the usual ones."""
    listed: list[Finding] = []
    usual = scene.install.wiring.verify_ports("cli:test")
    done = flow.verify(replace(usual, **ports), Wanted(share, actor="cli:test"), Watching(listed.append))  # type: ignore[arg-type]
    return done, listed


def test_an_untouched_history_is_whole(kept: Scene) -> None:
    """All is opened, nothing is found, and each has its time; no row for what was not asked by a person."""
    ran = kept.run("verify", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["findings"], document["complete"]) == (Exit.OK, [], True)
    assert (document["histories"], document["opened"], document["unreadable"]) == (2, 5, 0)
    assert kept.rows("SELECT 1 FROM content WHERE verified_at IS NULL") == []
    assert kept.rows("SELECT 1 FROM aside WHERE verified_at IS NULL") == []
    (act,) = kept.rows("SELECT actor, detail FROM audit WHERE action = 'snapshots_verified'")
    assert act.actor.startswith("cli:")
    assert act.detail == {"share": 1.0}
    assert daily(kept).counts["damaged"] == 0
    assert len(kept.rows("SELECT 1 FROM audit WHERE action = 'snapshots_verified'")) == 1
    assert alarms(kept) == []


def test_what_was_altered_is_found_and_named(kept: Scene) -> None:
    """With one alarm each, which ends when it verifies again; the job and a person look by the same code."""
    for table in ("content", "aside", "collection"):
        kept.write("migrator", f"CREATE TABLE {table}_before AS SELECT * FROM {table}")  # of this test only
    for what, (statement, expected) in ALTERED.items():
        kept.write("migrator", statement)
        done, listed = looked(kept)
        assert done.damaged == len(expected), what
        assert_same(listed, expected, what)
        assert len(alarms(kept)) == len({one[:3] for one in expected}), what
        restore(kept)
        assert looked(kept, 0.0)[1] == [], f"{what}, mended"
        assert alarms(kept) == [], what


def restore(scene: Scene) -> None:
    """The rows as they were."""
    for statement in (
        "UPDATE content k SET sealed = b.sealed, content_hash = b.content_hash FROM content_before b WHERE b.id = k.id",
        "UPDATE aside k SET sealed = b.sealed FROM aside_before b WHERE b.collection_id = k.collection_id",
        """UPDATE collection c SET state = b.state, is_change = b.is_change, content_id = b.content_id,
            content_hash = b.content_hash FROM collection_before b WHERE b.id = c.id""",
        """UPDATE device d SET (current_seq, current_collection_id) = (SELECT seq, id FROM collection c
            WHERE c.device_id = d.id AND c.state = 'stored' ORDER BY seq DESC LIMIT 1)""",
    ):
        scene.write("migrator", statement)


def test_a_person_reads_one_line_for_each(kept: Scene) -> None:
    """Which device, which snapshot, when, why, and what to do; then how much was looked at."""
    kept.write("migrator", ALTERED["a bit of a sealed text"][0])
    kept.write("migrator", LONG_AGO)
    assert daily(kept).counts["damaged"] == 1
    ran = kept.run("verify")
    line, last = ran.out.decode().splitlines()
    assert ran.code == Exit.WRONG
    assert line.startswith("DAMAGED: core-1, snapshot 3 (20")
    assert line.endswith("what to do: docs/runbook/snapshot_damaged.md")
    assert last == "histories checked: 2, exports opened: 5, 1 damaged"


def test_a_device_of_which_the_current_one_is_damaged_is_not_fresh(kept: Scene) -> None:
    """That it was collected a minute ago is worth nothing if nobody can open it."""
    assert "unreadable" not in kept.run("status").out.decode()
    kept.write(
        "migrator",
        """UPDATE content o SET sealed = overlay(o.sealed PLACING 'AAAAAAAA' FROM length(o.sealed) - 20)
        FROM device d JOIN collection c ON c.id = d.current_collection_id
        WHERE d.name = 'core-1' AND o.id = c.content_id""",
    )
    assert kept.run("verify").code == Exit.WRONG
    assert " 1 unreadable " in kept.run("status").out.decode().splitlines()[0]


def test_the_ciphertext_of_another_tenant_is_found(kept: Scene) -> None:
    """It was sealed with another key: it does not open."""
    wiring = kept.install.wiring
    stranger = TenantId(wiring.make_tenant("other"))
    device = DeviceId(kept.rows(f"SELECT {FIRST} AS id")[0].id)
    sealed = wiring.vault("interpreter").seal_config(stranger, device, b"whatever")
    kept.write("migrator", f"UPDATE content SET sealed = :s WHERE first_seq = 3 AND device_id = {FIRST}", s=sealed.text)
    assert_found(kept.run("verify", "--json"), [("core-1", 3, False, "another place")])


def test_a_header_that_names_another_owner_is_found(kept: Scene) -> None:
    """Also if it was sealed for this very device: the header is compared by itself."""
    wiring = kept.install.wiring
    (row,) = kept.rows(f"SELECT tenant_id, device_id, sealed FROM content WHERE device_id = {OTHER}")
    envelope = wiring.vault("reader").open_config(row.tenant_id, row.device_id, SealedConfig(row.sealed))
    first = DeviceId(kept.rows(f"SELECT {FIRST} AS id")[0].id)
    sealed = wiring.vault("interpreter").seal_config(row.tenant_id, first, envelope)
    kept.write("migrator", f"UPDATE content SET sealed = :s WHERE first_seq = 1 AND device_id = {FIRST}", s=sealed.text)
    assert_found(kept.run("verify", "--json"), [("core-1", 1, False, "names another device")])


def test_what_was_given_up_with_its_keys_is_no_damage(kept: Scene) -> None:
    """It is counted and not opened, and an alarm of it is over; what came after it is verified."""
    kept.write("migrator", ALTERED["a bit of a sealed text"][0])
    assert kept.run("verify").code == Exit.WRONG
    kept.write("migrator", "UPDATE device SET unreadable_to_seq = 3 WHERE name = 'core-1'")
    ran = kept.run("verify", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["unreadable"], document["opened"], document["histories"]) == (Exit.OK, 2, 3, 2)
    assert alarms(kept) == []
    assert kept.run("verify").out.decode().splitlines()[-1].endswith("unreadable, given up with their keys: 2")


def delete_keys(scene: Scene) -> None:
    """The keys of the tenant are gone."""
    tenant = TenantId(scene.rows("SELECT id FROM tenant WHERE name = 'default'")[0].id)
    scene.install.wiring.vault("provisioner").delete_keys(tenant)


def turn_away(scene: Scene) -> None:
    """Nobody answers at the vault's address."""
    scene.monkeypatch.setenv("OPENBAO_ADDR", "http://127.0.0.1:1")


def spoil_the_pepper(scene: Scene) -> None:
    """It is of the tenant, and of no snapshot."""
    scene.write("migrator", f"UPDATE tenant SET pepper = {FLIP.replace('sealed', 'pepper')}")


def restore_an_older_vault(scene: Scene) -> None:
    """More of a version that it does not have than any accident alters."""
    scene.monkeypatch.setattr(flow, "OTHER_VERSIONS", 1)
    scene.write("migrator", "UPDATE content SET sealed = replace(sealed, ':v1:', ':v7:')")


@pytest.mark.parametrize("lose", [delete_keys, turn_away, spoil_the_pepper, restore_an_older_vault])
def test_a_vault_without_its_keys_is_no_damage(few: Scene, lose: Callable[[Scene], None]) -> None:
    """It is an error of its own, which ends the run; what was done until then is said."""
    lose(few)
    ran = few.run("verify")
    assert ran.code == Exit.UNAVAILABLE
    assert "not all could be verified" in ran.err
    assert ran.out.startswith(b"histories checked: ") or lose is restore_an_older_vault
    if lose is not restore_an_older_vault:
        assert alarms(few) == []


def test_a_share_begins_with_what_was_not_verified_for_longest(kept: Scene) -> None:
    """The current ones come always; of the others as many as the share is of all."""
    assert json.loads(kept.run("verify", "--sample", "0", "--json").out)["opened"] == 2
    looked_at = "SELECT first_seq AS seq, verified_at FROM content ORDER BY verified_at NULLS FIRST, first_seq"
    assert [row.seq for row in kept.rows(looked_at) if row.verified_at is None] == [1, 3]
    kept.run("verify", "--sample", "20%")
    assert [row.seq for row in kept.rows(looked_at) if row.verified_at is None] == [3]
    kept.run("verify", "--sample", "20%")
    assert kept.rows(looked_at)[0].seq == 1
    assert kept.run("verify", "--sample", "101%").code == Exit.USAGE
    assert kept.run("verify", "--device", "nobody").code == Exit.NOT_FOUND


def test_one_device_alone(kept: Scene) -> None:
    """The others are not looked at."""
    kept.write("migrator", ALTERED["two rows of two devices"][0])
    assert [one[:2] for one in found(kept.run("verify", "--device", "core-2", "--json"))] == [("core-2", 1)]
    assert [row.name for row in kept.rows(UNSEEN)] == ["core-1"]


UNSEEN = "SELECT DISTINCT name FROM device d JOIN content k ON k.device_id = d.id WHERE k.verified_at IS NULL"


def test_the_daily_job_works_in_parts(kept: Scene) -> None:
    """What was enough ends a part; the next one goes on where it was, until the day's share is done, and no further."""
    wiring = kept.install.wiring
    opened: list[maintain.Ran] = []
    begun = counting(kept, "begin")
    state = "SELECT outcome, due_at < now() + interval '2 minutes' AS soon FROM job WHERE name = 'verify'"
    for _ in range(10):
        left = iter([False, False])

        def enough(left: Iterator[bool] = left) -> bool:
            return next(left, True)

        rest = opened[-1].rest if opened else None
        job = {"verify": partial(maintain.verify_part, wiring.verify_ports("job"), 1.0, Watching(enough=enough), rest)}
        opened.append(maintain.run("verify", wiring.house, job))
        (row,) = kept.rows(state)
        if not row.soon:
            break
        assert row.outcome.endswith("to be continued")
    assert [ran.counts["opened"] for ran in opened] == [2, 2, 1]
    assert len(begun) == 1  # all that is kept is counted once
    (row,) = kept.rows("SELECT completed_at >= finished_at AS now FROM job WHERE name = 'verify'")
    assert row.now
    assert daily(kept).counts["opened"] == 0
    kept.write("operator", LONG_AGO)
    assert daily(kept, 0.5).counts["opened"] == 5  # two current ones, two of the others, and what was kept aside


def counting(scene: Scene, method: str) -> list[object]:
    """Each call of a method of the store, as it is made."""
    calls: list[object] = []
    there = getattr(Verifying, method)

    def counted(self: Verifying, *given: object) -> object:
        calls.append(given)
        return there(self, *given)

    scene.monkeypatch.setattr(Verifying, method, counted)
    return calls


def test_what_was_given_up_does_not_keep_the_job_from_going_on(kept: Scene) -> None:
    """A history is looked at once in a run, also of a device of which nothing is left to open."""
    kept.write("migrator", "UPDATE device SET unreadable_to_seq = 5 WHERE name = 'core-1'")
    first = kept.rows("SELECT name FROM device ORDER BY id")[0].name
    kept.write("migrator", "UPDATE device SET unreadable_to_seq = 5 WHERE name = :name", name=first)
    for _ in range(2):
        left = iter([False])
        watching = Watching(enough=lambda left=left: next(left, True))  # type: ignore[misc]
        assert daily(kept, 0.0, watching).counts["histories"] == 1
    assert daily(kept, 0.0).counts["histories"] == 0


def of_another_tenant(scene: Scene) -> TenantId:
    """A tenant with a device that comes before all others, and something kept of it."""
    wiring = scene.install.wiring
    tenant = TenantId(wiring.make_tenant("other"))
    new = NewDevice(tenant, DeviceId(UUID(int=1)), "core-0", "192.0.2.9", 22, "routeros", {})
    enroll.add(wiring.enroll_ports("test"), new, Login("backup", password="s3cret"))
    for word in ("one", "two"):
        scene.observe(new.device_id, export_text(word))
    return tenant


NO_KEYS: dict[str, Callable[[Scene, TenantId], object]] = {
    "keys gone": lambda scene, tenant: scene.install.wiring.vault("provisioner").delete_keys(tenant),
    "no pepper": lambda scene, tenant: scene.write(
        "migrator", "UPDATE tenant SET pepper = NULL WHERE id = :t", t=tenant
    ),
}


@pytest.mark.parametrize("lose", NO_KEYS)
def test_a_tenant_without_its_keys_holds_up_no_other(kept: Scene, lose: str) -> None:
    """It is left out with an alarm of its own, in every later part too; all of the others is opened."""
    tenant = of_another_tenant(kept)
    NO_KEYS[lose](kept, tenant)
    kept.write("migrator", ALTERED["a bit of a sealed text"][0])
    done, listed = looked(kept)
    assert (done.without_keys, done.opened, done.devices, done.complete) == (1, 5, 3, False)
    assert isinstance(done.trouble, TransitKeyMissing)
    assert_same(listed, ALTERED["a bit of a sealed text"][1], lose)
    standing = "SELECT scope FROM alarm WHERE code = 'transit_key_missing' AND cleared_at IS NULL"
    assert [row.scope for row in kept.rows(standing)] == [f"tenant {tenant} verify"]
    assert [row.name for row in kept.rows(UNSEEN)] == ["core-0"]
    assert daily(kept).outcome.endswith("without_keys 1, ended by transit_key_missing")
    kept.write("migrator", "UPDATE tenant SET removed_at = now() WHERE id = :t", t=tenant)
    kept.install.wiring.house.mend()
    assert kept.rows(standing) == []


def test_a_row_that_nothing_can_be_made_of_is_a_finding(kept: Scene) -> None:
    """A driver that there is not, or whatever nobody foresaw: it is named, and the others are opened."""
    kept.write("migrator", "UPDATE device SET driver = 'nosuch' WHERE name = 'core-2'")
    done, listed = looked(kept)
    assert (done.opened, done.complete) == (5, True)
    assert_same(listed, [("core-2", 1, False, "cannot be checked")], "driver")
    kept.write("migrator", "UPDATE device SET driver = 'routeros'")
    ports, told = kept.install.wiring.verify_ports("job"), list[Exception]()

    def poison(_: str) -> Driver:
        raise ValueError("poison")

    poisoned = replace(ports, history=replace(ports.history, driver=poison))
    done = flow.verify(poisoned, Wanted(1.0), Watching(unexpected=told.append))
    assert (done.opened, done.damaged, len(told)) == (5, 5, 5)
    assert looked(kept)[1] == []
    assert alarms(kept) == []


class Slow(Verifying):
    """A store in which some histories cannot be read in time."""

    stuck: frozenset[int] = frozenset()
    asked = 0

    def flaws(self, device_id: DeviceId) -> Sequence[Flaw]:
        """Those by the order of their devices."""
        self.asked += 1
        if self.asked - 1 in self.stuck:
            raise StoreUnavailable("SQLSTATE 57014")
        return super().flaws(device_id)


@pytest.mark.parametrize("stuck", [0, 1])
def test_a_history_that_cannot_be_read_in_time_is_passed_by(kept: Scene, stuck: int) -> None:
    """It is a finding, and the next ones come; what cannot be read two times in a row is a database that is away."""
    slow = Slow(kept.install.wiring.engine("operator"))
    slow.stuck = frozenset({stuck})
    names = [row.name for row in kept.rows("SELECT name FROM device ORDER BY id")]
    done, listed = looked(kept, store=slow)
    assert (done.devices, done.opened, done.complete) == (2, 5, True)
    assert [(one.device_name, one.why) for one in listed] == [(names[stuck], flow.NOT_READ)]
    assert len(alarms(kept)) == 1
    slow.stuck, slow.asked = frozenset({0, 1}), 0
    done, _ = looked(kept, store=slow)
    assert isinstance(done.trouble, StoreUnavailable)
    assert looked(kept)[1] == []
    assert alarms(kept) == []


def test_a_database_that_does_not_answer_at_the_beginning_is_no_failure_of_the_task(kept: Scene) -> None:
    """Not even what there is can be counted, say, since somebody holds a table: the job waits, and goes on soon."""

    def away(*_: object) -> Standing:
        raise StoreUnavailable("SQLSTATE 55P03")

    kept.monkeypatch.setattr(Verifying, "begin", away)
    assert daily(kept).outcome == "ended by store_unavailable"
    (row,) = kept.rows(
        "SELECT due_at < now() + interval '11 minutes' AS soon, completed_at FROM job WHERE name = 'verify'"
    )
    assert (row.soon, row.completed_at) == (True, None)


def test_an_alarm_of_a_history_that_is_gone_ends(kept: Scene) -> None:
    """Nobody would look at it again: of a device that has nothing stored, or of a tenant that was removed."""
    empty, tenant = kept.add("core-3", "192.0.2.3"), of_another_tenant(kept)
    (first,) = kept.rows("SELECT id FROM device WHERE name = 'core-1'")
    for device in (empty, UUID(int=1), first.id):
        kept.install.wiring.alarms("operator").alarm("snapshot_damaged", f"device {device} history", "x")
    kept.write("migrator", "UPDATE tenant SET removed_at = now() WHERE id = :t", t=tenant)
    left_alone = frozenset({first.id})
    kept.install.wiring.verify_ports("job").store.begin(Wanted(0.0))
    assert {UUID(scope.split()[1]) for scope in alarms(kept)} == left_alone


def test_the_order_of_verification_comes_from_an_index(few: Scene) -> None:
    """Not from sorting all that is kept, for each page."""
    few.write("migrator", MANY)
    few.write("migrator", "ANALYZE device, tenant, content")
    with few.install.wiring.engine("operator").begin() as tx:
        now = datetime.now(UTC)
        values = {"tenant": None, "device": None, "without": list[UUID](), "before": now, "limit": 50}
        rows = tx.execute(text(f"EXPLAIN {verifying._OLDEST[Kept.CONTENT]}"), values)
        plan = "\n".join(row[0] for row in rows)
    assert plan.count("ix_content_verified") == 2, plan
    assert "Sort  (" not in plan, plan


MANY = """
    INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq,
        verified_at)
    SELECT d.tenant_id, d.id, 1, sha256(n::text::bytea), 'vault:v1:x', 1, n,
        CASE WHEN n % 2 = 0 THEN now() - n * interval '1 second' END
    FROM device d CROSS JOIN generate_series(10, 10000) n"""


def test_the_job_waits_for_a_vault_that_is_away(few: Scene) -> None:
    """It says what ended it, and goes on before its next turn."""
    delete_keys(few)
    assert daily(few).outcome.endswith("ended by transit_key_missing")
    (row,) = few.rows("SELECT due_at < now() + interval '11 minutes' AS soon FROM job WHERE name = 'verify'")
    assert row.soon


def test_the_worker_tells_each_alarm_once(kept: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the share of its setting; what is damaged is one alarm and one line in the log, however often found."""
    said: list[str] = []
    log = SimpleNamespace(error=lambda event, **fields: said.append(f"{event} {fields['code']} {fields['detail']}"))
    monkeypatch.setattr(telemetry, "logger", lambda: log)
    monkeypatch.setattr(door, "wiring", lambda: kept.install.wiring)
    kept.write("migrator", ALTERED["a bit of a sealed text"][0].replace("first_seq = 3", "first_seq = 5"))
    for _ in range(2):
        ran = maintain.run("verify", kept.install.wiring.house, {"verify": door._verify})
        assert door._rest is None
        assert ran.outcome == "histories 2, opened 4, damaged 1"  # one of the others, and what was kept aside
        kept.write("operator", LONG_AGO)
    assert said == ["alarm_raised snapshot_damaged sealed for another place, or altered"]
    assert len(alarms(kept)) == 1
