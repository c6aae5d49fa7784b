"""A whole install is copied, and restored on another folder: nothing is lost, asked again, or collected as a change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyrage
import pytest

from backupflow.core.model import Login, Seq
from backupflow.flows import history
from backupflow.simulator import Fleet, RouterSpec
from backupflow.simulator import Login as RouterLogin
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.checker.case import Terms
from tests.checker.check import Subject, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = PATIENT

LOGIN = Login("backup", password="the router's own")
ROUTERS = ("blocked", "changed", "paused", "quiet")
SETTINGS = {"CONFIG_BACKUP_INTERVAL": 36_000, "CONFIG_BACKUP_SPREAD_FROM": 0, "CONFIG_BACKUP_SPREAD_TO": 0}
# All that a restore has to bring back as it was, in words that do not depend on when it was asked.
KEPT = {
    "devices": "SELECT name, status, blocked_code FROM device ORDER BY name",
    "host keys": "SELECT device_id, status, fingerprint, first_seen_at FROM host_key ORDER BY id",
    "collections": "SELECT device_id, seq, state, is_change, digest FROM collection ORDER BY device_id, seq",
    "contents": "SELECT device_id, content_hash, sealed FROM content ORDER BY id",
    "keys": "SELECT purpose, mark, oldest_version FROM transit_key ORDER BY purpose",
    "audit": "SELECT id, actor, action, at, digest FROM audit WHERE id <= :last ORDER BY id",
}

CHANGES = """
    SELECT d.name, c.seq FROM collection c JOIN device d ON d.id = c.device_id
    WHERE c.state = 'stored' AND c.is_change"""


@dataclass
class Copied:
    """What there was when the copy was made, and where it was restored."""

    fleet: Fleet
    file: Path
    elsewhere: Install
    last_act: int
    was: dict[str, list[tuple[object, ...]]]
    texts: Mapping[tuple[str, int], bytes]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copied]:
    """Live a while, copy it, stop it, restore it beside and start that."""
    root = tmp_path_factory.mktemp("here")
    takes = RouterLogin(LOGIN.username, LOGIN.password)
    specs = [RouterSpec(name, version="7.14", logins=(takes,)) for name in ROUTERS]
    with Fleet(specs) as fleet:
        here = Install(root, **SETTINGS)
        here.start()
        try:
            made = copy(here, fleet, tmp_path_factory.mktemp("there"))
        finally:
            here.stop()
        key = made.file.with_name("key.txt")
        where = ("backup-system", "restore", str(made.file), "--identity", str(key))
        made.elsewhere.command(*where, "--seal-key", str(made.elsewhere.root / "seal.key"))
        made.elsewhere.start()
        try:
            yield made
        finally:
            made.elsewhere.stop()


def copy(here: Install, fleet: Fleet, there: Path) -> Copied:
    """Several revisions under several versions of the keys, a blocked device, a paused one; then the copy."""
    for name in ROUTERS:
        here.add(name, fleet[name].port, LOGIN)
    wait_for(lambda: stored(here) == len(ROUTERS), "all to be stored", 120)
    collect_edited(here, fleet, "changed")
    here.command("keys", "rotate")
    collect_edited(here, fleet, "changed")
    here.command("keys", "rewrap", "--retire", check=False)  # as far as it may be, so early
    collect_edited(here, fleet, "paused")
    here.command("device", "pause", "paused")
    fleet["blocked"].change_key()
    here.forget_meetings()
    assert here.collected("blocked") == "blocked"
    identity = pyrage.x25519.Identity.generate()
    (there / "key.txt").write_text(str(identity))
    file = there / "monday.age"
    here.command("backup-system", "create", str(file), "--recipient", str(identity.to_public()))
    last = here.rows("SELECT max(id) - 1 FROM audit")[0][0]  # the last one says that the file is whole: it is not in it
    return Copied(fleet, file, Install(there, **SETTINGS), last, kept(here, last), texts(here))


def collect_edited(here: Install, fleet: Fleet, name: str) -> None:
    """One revision more of a router."""
    fleet[name].edit()
    here.forget_meetings()
    assert here.collected(name) == "stored"


def stored(install: Install) -> int:
    """How many collections are."""
    return int(install.rows("SELECT count(*) FROM collection WHERE state = 'stored'")[0][0])


def kept(install: Install, last: int) -> dict[str, list[tuple[object, ...]]]:
    """What stands in the database."""
    return {name: [tuple(row) for row in install.rows(text, last=last)] for name, text in KEPT.items()}


def texts(install: Install) -> dict[tuple[str, int], bytes]:
    """Every snapshot, opened."""
    rows = install.rows(CHANGES)
    ports = install.wiring.history_ports("test")
    found: dict[tuple[str, int], bytes] = {}
    for row in rows:
        read = history.export(ports, install.tenant_id, row.name, Seq(row.seq))
        assert isinstance(read, history.Exported), read
        found[row.name, row.seq] = read.raw
    return found


def test_everything_is_as_it_was(copied: Copied) -> None:
    """Devices, pins, history, sealed texts, keys and the audit; only beat has claimed nothing of what is not due."""
    elsewhere = copied.elsewhere
    is_there = kept(elsewhere, copied.last_act)
    assert is_there["audit"] == copied.was["audit"]
    assert is_there["keys"] == copied.was["keys"]
    assert [row[:4] for row in is_there["host keys"]] == [row[:4] for row in copied.was["host keys"]]
    assert set(copied.was["contents"]) <= set(is_there["contents"])  # by now there may be newer ones
    was = {(row[0], row[1]) for row in copied.was["collections"]}
    assert [row for row in is_there["collections"] if (row[0], row[1]) in was] == copied.was["collections"]
    assert is_there["devices"] == copied.was["devices"]


def test_every_snapshot_opens(copied: Copied) -> None:
    """Byte for byte, those under older versions of the key too; and `verify` finds nothing."""
    assert len(copied.texts) == len(ROUTERS) + 3
    assert texts(copied.elsewhere).items() >= copied.texts.items()
    copied.elsewhere.command("verify")


def test_unchanged_routers_are_no_changes_and_no_key_is_asked_again(copied: Copied) -> None:
    """The next collection finds the pinned key and the text of before; who is paused or blocked is left alone."""
    elsewhere, fleet = copied.elsewhere, copied.fleet
    before = {name: fleet[name].stats for name in ("paused", "blocked")}
    pins = elsewhere.rows("SELECT id, status, first_seen_at FROM host_key ORDER BY id")
    changes = "SELECT count(*) FROM collection WHERE is_change"
    was = elsewhere.rows(changes)[0][0]
    for name in ("quiet", "changed"):
        elsewhere.forget_meetings()
        assert elsewhere.collected(name) == "stored"
    assert elsewhere.rows(changes)[0][0] == was
    assert elsewhere.rows("SELECT id, status, first_seen_at FROM host_key ORDER BY id") == pins
    assert {name: fleet[name].stats for name in before} == before
    elsewhere.forget_meetings()
    fleet["changed"].edit()
    assert elsewhere.collected("changed") == "stored"
    assert elsewhere.rows(changes)[0][0] == was + 1


def test_the_checker_finds_every_promise_kept(copied: Copied) -> None:
    """From the routers' own story, over both installs."""
    elsewhere, fleet = copied.elsewhere, copied.fleet
    waiting = "SELECT count(*) FROM collection WHERE state = 'stored' AND is_change AND interpreted_after_seq IS NULL"
    wait_for(lambda: elsewhere.rows(waiting)[0][0] == 0, "changes to be interpreted", 60)
    wiring = elsewhere.wiring
    terms = Terms(settled=frozenset({"changed", "quiet"}), policy=wiring.policy, interpreted=True)
    assert check(Subject(wiring.engine("reader"), wiring.vault("reader"), fleet.history, terms)) == []


def test_it_is_known_where_all_of_it_comes_from(copied: Copied) -> None:
    """One row in the audit says which file; the file counts as the newest backup; the logins of then are no more."""
    told = copied.elsewhere.rows("SELECT detail FROM audit WHERE action = 'system_restored'")
    looked = json.loads(
        copied.elsewhere.command(
            "backup-system", "check", str(copied.file), "--identity", str(copied.file.with_name("key.txt")), "--json"
        ).stdout
    )
    assert [row.detail["sha256"] for row in told] == [looked["sha256"]]
    assert copied.elsewhere.rows("SELECT count(*) FROM system_backup")[0][0] == 1
