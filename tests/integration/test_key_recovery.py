"""Keys, database and vault that do not fit together any more, on real servers: what is said, and the way back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backupflow.cli.exits import Exit
from backupflow.core.ledger import Stored
from backupflow.core.message import encode
from backupflow.core.model import Purpose
from tests.integration.scene import export_text
from tests.integration.test_keys import (
    exported,
    ingest,
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
