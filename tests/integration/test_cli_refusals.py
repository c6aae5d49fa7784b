"""A login that many devices refused, as commands show it: why, when it is tried again, who waits, and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.cli.exits import Exit
from tests.integration.test_cli_scopes import ok, placed, profile, shown

if TYPE_CHECKING:
    from tests.integration.scene import Scene

REFUSED = """
    UPDATE credential_profile SET suspended_at = now() - interval '20 minutes', trials = 1,
        suspended_reason = '5 of 12 devices refused it', trial_at = now() + interval '25 minutes'"""
ALARM = """
    INSERT INTO alarm (tenant_id, code, scope, detail)
    SELECT tenant_id, 'login_refused', 'login ' || id, 'many refused it' FROM credential_profile"""


def test_a_login_that_many_refused_says_when_it_is_tried_again(scene: Scene) -> None:
    """One look tells how many refused it, how many wait, when one device tries it, and the commands that mend it."""
    profile(scene)
    for number in (1, 2):
        placed(scene, f"r-{number}", f"192.0.2.{number}", profile="routers")
    scene.write("migrator", "UPDATE device SET next_due_at = now() - interval '1 minute'")
    scene.write("migrator", REFUSED)
    said = " ".join(ok(scene, "credential", "show", "routers").out.decode().split())
    assert "suspended: 5 of 12 devices refused it; 2 devices wait" in said
    assert "by one device at 20" in said
    assert "after 1 trial in vain" in said
    assert "`credential resume routers` tries it on all now" in said
    assert b"5 of 12 devices refused it; 2 devices wait" in ok(scene, "credential", "list").out
    document = shown(scene, "credential", "show", "routers")
    assert (document["trials"], document["waiting"], bool(document["trial_at"])) == (1, 2, True)
    status = scene.run("status")
    assert status.code != Exit.OK
    assert b"5 of 12 devices refused it: 2 devices wait" in b" ".join(status.out.split())
    assert b"credential show routers" in b" ".join(scene.run("device", "show", "r-1").out.split())


def test_a_person_has_the_last_word_on_it(scene: Scene) -> None:
    """Suspended by hand it is tried by nobody; resumed it is tried by all; either is on record, and ends the alarm."""
    profile(scene)
    for last_word in (("suspend", "routers", "--reason", "leave it"), ("resume", "routers")):
        scene.write("migrator", REFUSED)
        scene.write("migrator", ALARM)
        ok(scene, "credential", *last_word)
        assert shown(scene, "credential", "show", "routers")["trial_at"] is None
        assert json.loads(ok(scene, "alarm", "list", "--json").out)["alarms"] == []
    (acts,) = (scene.rows("SELECT action FROM audit WHERE action LIKE 'credential_profile_%' ORDER BY id"),)
    assert [act.action for act in acts][-2:] == ["credential_profile_suspended", "credential_profile_resumed"]
