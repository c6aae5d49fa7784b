"""What was removed comes back, or goes for good: `device restore`, `purge` and `tenant remove`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.cli.exits import Exit
from backupflow.core.model import Purpose
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from tests.integration.scene import Ran, Scene


def restore(scene: Scene, *more: str, stdin: bytes = b"") -> Ran:
    """`device restore core-1`."""
    return scene.run("device", "restore", "core-1", *more, stdin=stdin)


def test_a_removed_device_comes_back_with_its_history_and_its_key(scene: Scene) -> None:
    """Its own login was destroyed at once: another one is given, and it is due."""
    device = scene.add()
    first = scene.observe(device, export_text("one"))
    pinned = scene.rows("SELECT fingerprint FROM host_key WHERE status = 'pinned'")
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    assert scene.rows("SELECT 1 FROM credential_profile") == []
    refused = restore(scene)
    assert refused.code != Exit.OK
    assert "password" in refused.err
    back = restore(scene, "--password-stdin", stdin=b"an0ther\n")
    assert back.code == Exit.OK, back.err
    assert b"restored; due in" in back.out
    listed = json.loads(scene.run("snapshots", "core-1", "--json").out)
    assert [one["snapshot"] for one in listed["snapshots"]] == [first]
    assert scene.rows("SELECT fingerprint FROM host_key WHERE status = 'pinned'") == pinned
    acts = [row.action for row in scene.rows("SELECT action FROM audit WHERE action LIKE 'device_re%' ORDER BY id")]
    assert acts == ["device_removed", "device_restored"]
    again = restore(scene, "--password-stdin", stdin=b"x\n")
    assert (again.code, "core-1 is not removed" in again.err) == (Exit.REFUSED, True)


def test_what_was_removed_is_shown_as_removed(scene: Scene) -> None:
    """Its history says so and what brings it back; so does who looks for the device."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    assert json.loads(scene.run("history", "core-1", "--json").out)["removed_at"] is None
    assert b"removed" not in scene.run("history", "core-1").out
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    first = scene.run("history", "core-1").out.decode().splitlines()[0]
    assert first.startswith("core-1 (removed 2")
    assert "; `device restore core-1`): unchanged since" in first
    assert json.loads(scene.run("history", "core-1", "--json").out)["removed_at"].startswith("2")
    gone = scene.run("device", "show", "core-1")
    assert (gone.code, "`device restore core-1`" in gone.err) == (Exit.NOT_FOUND, True)
    assert "restore" not in scene.run("device", "show", "core-2").err
    assert "see `device list`" in restore_of(scene, "core-2").err


def restore_of(scene: Scene, name: str) -> Ran:
    """`device restore` of that name."""
    return scene.run("device", "restore", name)


def test_it_comes_back_to_a_profile(scene: Scene) -> None:
    """No login is asked for."""
    assert scene.run("credential", "add", "routers", "--username", "backup", "--password-stdin", stdin=b"x").code == 0
    added = scene.run("device", "add", "core-1", "192.0.2.1", "--profile", "routers", "--trust", "tofu")
    assert added.code == Exit.OK, added.err
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    back = restore(scene)
    assert back.code == Exit.OK, back.err
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["status"] == "active"


def test_it_does_not_come_back_where_another_one_is(scene: Scene) -> None:
    """Its name or its address is another device's by now: which one is said, and nothing is changed."""
    scene.add()
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    scene.add("core-2")
    taken = restore(scene, "--password-stdin", stdin=b"x\n")
    assert (taken.code, "core-2 has 192.0.2.1" in taken.err) == (Exit.REFUSED, True), taken.err
    scene.add("core-1", "192.0.2.7")
    assert "core-1" in restore(scene, "--password-stdin", stdin=b"x\n").err
    assert len(scene.rows("SELECT 1 FROM device WHERE status = 'removed'")) == 1
    assert len(scene.rows("SELECT 1 FROM credential_profile")) == 2


def purge(scene: Scene, *more: str) -> Ran:
    """`purge core-1`."""
    return scene.run("purge", "core-1", *more)


def test_a_purge_takes_what_is_older_and_what_quotes_it(scene: Scene) -> None:
    """Of the one that stays its difference from what went is forgotten: it is a first one; the audit has the act."""
    device = scene.add()
    seqs = [scene.observe(device, export_text(word)) for word in ("one", "two", "three")]
    sealed = scene.rows("SELECT sealed FROM content WHERE first_seq = :s", s=seqs[0])[0].sealed
    scene.write(
        "interpreter",
        "INSERT INTO interpretation (tenant_id, device_id, collection_id, seq, after_seq, normalization_version, kind, "
        "diff_sealed) SELECT tenant_id, device_id, id, seq, seq - 1, 1, 'change', 'vault:v1:QUJD' FROM collection",
    )
    scene.write("interpreter", "UPDATE collection SET interpreted_after_seq = seq - 1")
    assert purge(scene).code == Exit.USAGE
    assert purge(scene, "--before", "now", "--yes").code == Exit.USAGE
    assert purge(scene, "--before", str(seqs[2])).code == Exit.REFUSED  # nobody typed its name
    done = purge(scene, "--before", str(seqs[2]), "--yes")
    assert (done.code, b"2 of core-1 are gone, 1 configuration left" in done.out) == (Exit.OK, True), done.out
    left = scene.rows("SELECT seq, interpreted_after_seq AS after FROM collection")
    assert [(row.seq, row.after) for row in left] == [(seqs[2], None)]
    assert scene.rows("SELECT 1 FROM interpretation") == []
    assert sealed not in {row.sealed for row in scene.rows("SELECT sealed FROM content")}
    (act,) = scene.rows("SELECT actor, detail FROM audit WHERE action = 'history_purged'")
    assert (act.actor.startswith("cli:"), act.detail["configurations"]) == (True, 2)
    assert purge(scene, "--before", str(seqs[2]), "--yes").code == Exit.NOT_FOUND
    assert scene.run("export", "core-1", "-o", "-").code == Exit.OK


def test_all_of_a_device_goes_only_by_its_word(scene: Scene) -> None:
    """Also the current one, and what a removed device left; what is collected next is stored as ever."""
    device = scene.add()
    first = scene.observe(device, export_text("one"))
    scene.doubt(device, export_text("doubt"))
    assert purge(scene, "--all", "--yes").code == Exit.OK
    assert [scene.rows(f"SELECT 1 FROM {table}") for table in ("collection", "content", "aside")] == [[], [], []]  # noqa: S608
    assert scene.observe(device, export_text("two")) > first
    assert scene.run("export", "core-1", "-o", "-").out == export_text("two")
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    assert purge(scene, "--all", "--yes").code == Exit.OK
    assert scene.rows("SELECT 1 FROM content") == []


def test_a_tenant_is_shredded_with_its_keys(scene: Scene) -> None:
    """Nothing that was sealed for it opens again, its rows are gone, and the tenants beside it stand as before."""
    for name in ("customer-1", "customer-2"):
        assert scene.run("tenant", "add", name).code == Exit.OK
        for argv in (("credential", "add", "routers"), ("device", "add", "edge-1", "192.0.2.9", "--profile", "")):
            more = ("--username", "backup", "--password-stdin", "--tenant", name)
            ran = scene.run(*(one for one in argv if one not in {"--profile", ""}), *more, stdin=b"s3cret")
            assert ran.code == Exit.OK, ran.err
        assert scene.run("tenant", "edit", name, "--profile", "routers").code == Exit.OK
    doomed = scene.rows("SELECT id, pepper FROM tenant WHERE name = 'customer-1'")[0]
    assert scene.run("tenant", "remove", "customer-1").code == Exit.REFUSED
    assert scene.run("tenant", "remove", "customer-1", "--shred").code == Exit.REFUSED
    done = scene.run("tenant", "remove", "customer-1", "--shred", "--yes")
    assert done.code == Exit.OK, done.err
    ours = {"t": doomed.id}
    for table in ("collection", "content", "credential_profile", "event", "outbox"):
        assert scene.rows(f"SELECT 1 FROM {table} WHERE tenant_id = :t", **ours) == []  # noqa: S608
    vault = scene.install.wiring.vault("provisioner")
    assert [vault.key(doomed.id, purpose) for purpose in Purpose] == [None] * 3
    acts = scene.rows("SELECT action FROM audit WHERE tenant_id = :t AND action LIKE 'tenant_%' ORDER BY id", **ours)
    assert [row.action for row in acts][-2:] == ["tenant_removed", "tenant_shredded"]
    assert scene.run("tenant", "remove", "customer-1", "--shred", "--yes").code == Exit.NOT_FOUND
    assert scene.run("tenant", "add", "customer-1").code == Exit.OK  # its name is free
    assert scene.run("tenant", "show", "customer-2").code == Exit.OK
    assert len(scene.rows("SELECT 1 FROM device WHERE name = 'edge-1' AND status = 'active'")) == 1


def test_who_was_cut_off_while_shredding_goes_on(scene: Scene) -> None:
    """Removed, its keys gone or not: the same command ends it."""
    assert scene.run("tenant", "add", "customer-1").code == Exit.OK
    doomed = scene.rows("SELECT id FROM tenant WHERE name = 'customer-1'")[0]
    scene.install.wiring.purging.remove_tenant(doomed.id, "cli:me")
    scene.install.wiring.vault("provisioner").delete_keys(doomed.id)
    assert scene.run("tenant", "remove", "customer-1", "--shred", "--yes").code == Exit.OK
    (row,) = scene.rows("SELECT name, shredded_at FROM tenant WHERE id = :t", t=doomed.id)
    assert row.shredded_at is not None
    assert row.name.startswith("customer-1 (removed ")
