"""Keys, database and vault that do not fit together any more, on real servers: what is said, and the way back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core import suspicion
from backupflow.core.driver import Facts
from backupflow.core.ledger import Stored
from backupflow.core.message import encode
from backupflow.core.model import Purpose
from backupflow.flows import renewing
from tests.integration.scene import export_text
from tests.integration.test_keys import (
    Died,
    dying,
    exported,
    ingest,
    lose,
    ready,
    renew,
    rewrapped,
    sent,
    shown,
    tenant_of,
)

if TYPE_CHECKING:
    from tests.integration.scene import Scene


def sealed_state(scene: Scene) -> dict[str, Any]:
    """What a backup of the database has of the keys."""
    return {
        "content": {row.id: row.sealed for row in scene.rows("SELECT id, sealed FROM content")},
        "pepper": scene.rows("SELECT pepper FROM tenant")[0].pepper,
        "marks": {row.purpose: row.mark for row in scene.rows("SELECT purpose, mark FROM transit_key")},
    }


def put_back(scene: Scene, state: dict[str, Any]) -> None:
    """The database is that backup again."""
    for key, sealed in state["content"].items():
        scene.write("operator", "UPDATE content SET sealed = :s WHERE id = :k RETURNING 1", s=sealed, k=key)
    scene.write("operator", "UPDATE tenant SET pepper = :s RETURNING 1", s=state["pepper"])
    back = "UPDATE transit_key SET mark = :m, oldest_version = 1 WHERE purpose = :p RETURNING 1"
    for purpose, mark in state["marks"].items():
        scene.write("operator", back, m=mark, p=purpose)


def acts(scene: Scene) -> list[str]:
    """What was done to keys, as the audit has it."""
    return [row.action for row in scene.rows("SELECT action FROM audit WHERE action LIKE 'key%' ORDER BY id")]


def test_a_database_older_than_the_vault_opens_as_it_is_until_versions_are_retired(scene: Scene) -> None:
    """After `rewrap` both are readable; after `--retire` it is said what to do, and `keys reopen` is enough."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    old = sealed_state(scene)
    scene.run("keys", "rotate")
    moved = scene.run("keys", "rewrap", "--json")
    assert (moved.code, json.loads(moved.out)["retired_below"]) == (Exit.OK, {})
    new = sealed_state(scene)
    for state in (old, new):
        put_back(scene, state)
        assert (ready(scene), exported(scene, 1)) == ("", export_text("one"))

    assert rewrapped(scene)[0].code == Exit.OK
    put_back(scene, old)
    refused = scene.run("export", "core-1", "-o", "-")
    assert refused.code == Exit.UNAVAILABLE
    assert "keys reopen" in refused.err
    given_up = renew(scene)
    assert (given_up.code, "`keys reopen`" in given_up.err) == (Exit.REFUSED, True)
    assert scene.run("keys", "reopen").code == Exit.OK
    assert (ready(scene), exported(scene, 1)) == ("", export_text("one"))
    assert acts(scene)[-1] == "key_versions_reopened"
    assert rewrapped(scene)[1]["retired_below"] == {purpose.value: 2 for purpose in Purpose}
    assert exported(scene, 1) == export_text("one")


def test_a_message_that_came_too_late_is_stored_after_all(scene: Scene) -> None:
    """Vault and database take in again what was retired; then it is retired again, and not without a look around."""
    device = scene.add()
    message = sent(scene, device, export_text("late"))
    lose = "UPDATE collection SET state = 'lost', code = 'message_gone', ended_at = now() - interval '11 min'"
    scene.write("ingester", lose)
    scene.run("keys", "rotate")
    assert rewrapped(scene)[1]["holds"] == []
    assert ingest(scene, message) is Stored.RETIRED
    assert scene.run("keys", "reopen").code == Exit.OK
    aside = "INSERT INTO quarantine (reason, subject, payload, digest) VALUES ('unexpected', 's', :payload, :digest)"
    scene.write("ingester", aside, payload=encode(message), digest=b"1" * 32)
    assert "1 messages in quarantine" in " ".join(rewrapped(scene)[1]["holds"])
    assert ingest(scene, message) is Stored.STORED
    assert rewrapped(scene)[1]["holds"] == []
    assert {key["min_decryption_version"] for key in shown(scene).values()} == {2}
    assert exported(scene, 1) == export_text("late")
    assert acts(scene).count("key_versions_retired") == 2
    assert scene.install.wiring.vault("operator").key(tenant_of(scene), Purpose.DATA)


def test_an_older_vault_is_noticed_at_once_and_neither_rotated_nor_given_up_by_mistake(scene: Scene) -> None:
    """The canary is of the newest version as soon as there is one: a vault without it stops all, until it is said."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    scene.run("keys", "rotate")
    assert {key["canary_version"] for key in shown(scene).values()} == {2}
    lose(scene, *Purpose)
    vault = scene.install.wiring.vault("provisioner")
    for purpose in Purpose:  # stands for a vault of before the rotation: it has version 1 alone
        vault.make_key(tenant_of(scene), purpose)
    assert ready(scene) == "transit_key_missing"
    for words in (("rotate",), ("rewrap",), ("renew", "--lost", "--confirm", "default")):
        assert scene.run("keys", *words).code != Exit.OK
    refused = renew(scene)
    assert "restore a newer backup" in refused.err
    assert {key["newest_version"] for key in shown(scene).values()} == {1}
    assert renew(scene, "--adopt").code == Exit.OK
    assert ready(scene) == ""


def test_one_altered_row_gives_nothing_up_and_lets_no_version_be_made(scene: Scene) -> None:
    """What a row says of its version is no reason to throw all others away."""
    device = scene.add()
    for word in ("one", "two"):
        scene.observe(device, export_text(word))
    altered = "UPDATE content SET sealed = overlay(sealed PLACING '3' FROM 8 FOR 1) WHERE first_seq = 1 RETURNING 1"
    scene.write("operator", altered)
    for options in ((), ("--adopt",)):
        refused = renew(scene, *options)
        assert (refused.code, "nothing is lost" in refused.err) == (Exit.REFUSED, True)
    for command in ("rotate", "rewrap"):
        refused = scene.run("keys", command)
        assert (refused.code, "1 texts are sealed under versions" in refused.err) == (Exit.REFUSED, True)
    assert exported(scene, 2) == export_text("two")


def test_after_a_loss_another_router_or_half_an_export_is_still_seen(scene: Scene) -> None:
    """Serial number and size are not sealed: with the keys is not lost what would keep a bad export out (I8)."""
    device = scene.add()
    scene.observe(device, export_text("one"), facts=Facts("routeros", serial="A1"), known_serial="A1", sections=9)
    lose(scene, *Purpose)
    assert renew(scene).code == Exit.OK
    scene.run("device", "edit", "core-1", "--username", "backup", "--password-stdin", stdin=b"s3cret")
    known = scene.claim(device).known
    assert known.before is not None
    for now, verdict in (
        (replace(known.before, facts=Facts("routeros", serial="B2")), suspicion.OtherRouter),
        (replace(known.before, sections=4), suspicion.Suspect),
        (known.before, suspicion.Accepted),
    ):
        assert isinstance(suspicion.judge(known, now), verdict)


def test_an_altered_pepper_is_said_and_renewed_alone(scene: Scene) -> None:
    """Without it nothing is collected: that pauses all, and a new one is made; logins and snapshots stay."""
    device = scene.add()
    scene.observe(device, export_text("one"))
    scene.write("operator", "UPDATE tenant SET pepper = overlay(pepper PLACING 'AAAA' FROM 30) RETURNING 1")
    done = renew(scene)
    assert (done.code, json.loads(done.out)["lost"]) == (Exit.OK, {"pepper": "pepper"}), done.err
    assert ready(scene) == ""
    assert scene.observe(device, export_text("one")) == 2
    assert [exported(scene, seq) for seq in (1, 2)] == [export_text("one")] * 2


def test_a_renewal_that_was_cut_off_lets_no_strangers_in(scene: Scene) -> None:
    """What it had made itself is known by its mark; all else is still asked about."""
    scene.add()
    tenant_id = tenant_of(scene)
    lose(scene, Purpose.PEPPER)
    with pytest.raises(Died):
        renewing.renew(dying(scene, "KeyMaker.new_pepper:after"), tenant_id)
    lose(scene, Purpose.DATA)
    scene.install.wiring.vault("provisioner").make_key(tenant_id, Purpose.DATA)
    refused = renew(scene)
    assert (refused.code, "another key than before (data)" in refused.err) == (Exit.REFUSED, True)
    assert renew(scene, "--adopt").code == Exit.OK
    assert ready(scene) == ""


def test_a_clock_that_was_set_back_hides_nothing_that_runs(scene: Scene) -> None:
    """What has begun in the future began before everything moved."""
    scene.claim(scene.add())
    scene.write("collector", "UPDATE collection SET started_at = now() + interval '1 hour' WHERE state = 'running'")
    scene.run("keys", "rotate")
    assert "1 collections run that began before" in " ".join(rewrapped(scene)[1]["holds"])


def test_who_gives_up_is_told_how_much_and_in_which_vault(scene: Scene) -> None:
    """An empty wrong vault looks like a loss; and the old pepper is kept, sealed, should the old keys come back."""
    device = scene.add()
    for word in ("one", "two"):
        scene.observe(device, export_text(word))
    pepper = sealed_state(scene)["pepper"]
    lose(scene, *Purpose)
    asked = scene.run("keys", "renew", "--lost")
    assert asked.code == Exit.REFUSED
    assert scene.install.wiring.settings.servers.openbao_addr in asked.err
    assert "2 snapshots, 1 logins, 1 pepper" in asked.err
    assert renew(scene).code == Exit.OK
    with scene.install.wiring.engine("operator").begin() as tx:
        kept = tx.scalar(text("SELECT detail ->> 'sealed_pepper_before' FROM audit WHERE action = 'keys_renewed'"))
    assert kept == pepper
