"""`verify` and its daily job: what was altered in the database is found and named, and nothing else is."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from backupflow import telemetry
from backupflow.cli.exits import Exit
from backupflow.core.model import DeviceId, SealedConfig, TenantId
from backupflow.flows import maintain
from backupflow.flows import verify as flow
from backupflow.tasks import maintain as door
from tests.integration.scene import Ran, export_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    findings = sorted(found(ran))
    assert [one[:3] for one in findings] == [one[:3] for one in expected], what
    for one, wanted in zip(findings, expected, strict=True):
        assert wanted[3] in one[3], what
    assert ran.code == (Exit.WRONG if expected else Exit.OK)


def alarms(scene: Scene) -> list[str]:
    """What stands of damaged snapshots."""
    return [
        row.scope
        for row in scene.rows("SELECT scope FROM alarm WHERE code = 'snapshot_damaged' AND cleared_at IS NULL")
    ]


def daily(scene: Scene, share: float = 1.0) -> maintain.Ran:
    """The job, as the maintain worker runs it but for the setting of its share."""
    wiring = scene.install.wiring
    job = {"verify": lambda: maintain.verify_part(wiring.verify_ports("job"), share, lambda _: None, lambda: False)}
    return maintain.run("verify", wiring.house, job)


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
    """By a person and by the daily job; with one alarm each, which ends when it verifies again."""
    for table in ("content", "aside", "collection"):
        kept.write("migrator", f"CREATE TABLE {table}_before AS SELECT * FROM {table}")
    for what, (statement, expected) in ALTERED.items():
        kept.write("migrator", statement)
        assert_found(kept.run("verify", "--json"), expected, what)
        standing = alarms(kept)
        assert len(standing) == len({one[:3] for one in expected}), what
        kept.write("migrator", LONG_AGO)
        assert daily(kept).counts["damaged"] == len(expected), what
        assert alarms(kept) == standing, what
        restore(kept)
        assert_found(kept.run("verify", "--sample", "0%", "--json"), [], f"{what}, mended")
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
    ran = kept.run("verify")
    line, last = ran.out.decode().splitlines()
    assert ran.code == Exit.WRONG
    assert line.startswith("DAMAGED: core-1, snapshot 3 (20")
    assert line.endswith("what to do: docs/runbook/snapshot_damaged.md")
    assert last == "histories checked: 2, exports opened: 5, 1 damaged"


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
    assert "ended early" in ran.err
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
    opened = []
    state = "SELECT outcome, due_at < now() + interval '2 minutes' AS soon FROM job WHERE name = 'verify'"
    for _ in range(10):
        left = iter([False, False])

        def enough(left: Iterator[bool] = left) -> bool:
            return next(left, True)

        job = {"verify": partial(maintain.verify_part, wiring.verify_ports("job"), 1.0, lambda _: None, enough)}
        opened.append(maintain.run("verify", wiring.house, job))
        (row,) = kept.rows(state)
        if not row.soon:
            break
        assert row.outcome.endswith("to be continued")
        kept.write("operator", "UPDATE job SET due_at = now() + every WHERE name = 'verify'")
    assert [ran.counts["opened"] for ran in opened] == [2, 2, 1]
    assert daily(kept).counts["opened"] == 0
    kept.write("operator", LONG_AGO)
    assert daily(kept, 0.5).counts["opened"] == 5  # two current ones, two of the others, and what was kept aside


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
        assert ran.outcome == "histories 2, opened 4, damaged 1"  # one of the others, and what was kept aside
        kept.write("operator", LONG_AGO)
    assert said == ["alarm_raised snapshot_damaged sealed for another place, or altered"]
    assert len(alarms(kept)) == 1
