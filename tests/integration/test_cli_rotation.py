"""`credential rotate` as a person meets it: begun, seen, finished and cancelled; no secret is ever shown."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.cli.asking import next_of
from backupflow.cli.exits import Exit
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import Purpose, SealedSecret
from backupflow.flows.admitting import login_of
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from tests.integration.scene import Ran, Scene

OLD, NEW = b"0ld-s3cret", b"n3w-s3cret"


def ok(scene: Scene, *words: str, stdin: bytes = b"") -> Ran:
    """A command that goes well; nothing it says has a secret in it."""
    ran = scene.run(*words, stdin=stdin)
    assert ran.code == Exit.OK, ran.err
    assert not any(secret in ran.out + ran.err.encode() for secret in (OLD, NEW, b"vault:v"))
    return ran


def shown(scene: Scene) -> Any:  # noqa: ANN401 - a document
    """The profile as a program sees it."""
    return json.loads(ok(scene, "credential", "show", "fleet", "--json").out)


def opened(scene: Scene, column: str) -> str | None:
    """A secret as a collector opens it."""
    wiring = scene.install.wiring
    with wiring.engine("collector").begin() as tx:
        row = tx.execute(text("SELECT id, tenant_id, sealed, next_sealed FROM credential_profile")).one()
    sealed = SealedSecret(getattr(row, column))
    return login_of("x", wiring.vault("collector").open_login(row.tenant_id, row.id, sealed)).password


def on(scene: Scene, name: str, columns: str) -> None:
    """What a collector has found out about a device."""
    scene.write("collector", f"UPDATE device SET {columns} WHERE name = :name", name=name)  # noqa: S608 - constants


@pytest.fixture
def fleet(scene: Scene) -> Scene:
    """Three devices on one login."""
    ok(scene, "credential", "add", "fleet", "--username", "backup", "--trust", "tofu", "--password-stdin", stdin=OLD)
    for number in range(3):
        ok(scene, "device", "add", f"r-{number}", f"192.0.2.{number}", "--profile", "fleet")
    return scene


def test_a_rotation_from_its_beginning_to_its_end(fleet: Scene) -> None:
    """How far it is stands in show, list and on each device; the number of those left behind has to be given."""
    said = ok(fleet, "credential", "rotate", "fleet", "--username", "backup2", "--password-stdin", stdin=NEW)
    assert b"`credential rotate fleet --finish` ends it" in said.out
    assert (opened(fleet, "sealed"), opened(fleet, "next_sealed")) == (OLD.decode(), NEW.decode())
    assert shown(fleet)["rotation"] | {"begun_at": 0} == {
        "username": "backup2", "method": "password", "begun_at": 0, "on_new": 0, "on_old": 0, "not_seen": 3,
        "refused_one": 0, "refused_both": 0, "not_on_new": ["r-0", "r-1", "r-2"],
    }  # fmt: skip
    on(fleet, "r-0", "login_on = 'next', login_since = now()")
    on(fleet, "r-1", "login_since = now()")
    on(fleet, "r-2", "login_on = 'next', refused_on = 'current'")
    began = fleet.claim(fleet.rows("SELECT id FROM device WHERE name = 'r-2'")[0][0])
    fleet.write(
        "collector",
        "UPDATE collection SET state = 'failed', code = 'authentication_failed', ended_at = now() WHERE id = :id",
        id=began.collection_id,
    )
    assert b"waiting: the new login has its turn" in fleet.run("status", "--all").out
    far = b"1 on new, 1 on old, 1 refused one, the other has its turn"
    assert far in ok(fleet, "credential", "show", "fleet").out
    assert far in b" ".join(ok(fleet, "credential", "list").out.split())
    assert b"r-1, r-2" in ok(fleet, "credential", "show", "fleet").out
    for name, says in (("r-0", b"backup2 (password; on new since "), ("r-1", b"backup (password; on old since "),
                       ("r-2", b"refused the old one, the new has its turn")):  # fmt: skip
        assert says in ok(fleet, "device", "show", name).out
    assert b"nothing is to be done: the new login is sent by itself at " in ok(fleet, "device", "show", "r-2").out
    document = json.loads(ok(fleet, "device", "show", "r-2", "--json").out)
    assert document["rotation"] == {"sends": "next", "refused": "current", "works_since": None}
    refused = fleet.run("credential", "rotate", "fleet", "--finish")
    assert refused.code == Exit.REFUSED
    assert "2 devices are not known to take the new login (1 on old, 1 have refused one): r-1, r-2." in refused.err
    assert "say --yes 2" in refused.err
    assert fleet.run("credential", "rotate", "fleet", "--finish", "--yes", "3").code == Exit.REFUSED
    ok(fleet, "credential", "rotate", "fleet", "--finish", "--yes", "2")
    assert (opened(fleet, "sealed"), shown(fleet)["username"], shown(fleet)["rotation"]) == (
        NEW.decode(), "backup2", None,
    )  # fmt: skip
    assert b"; on " not in ok(fleet, "device", "show", "r-0").out


def test_the_number_is_asked_for_at_a_terminal(fleet: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked where nobody is left behind; a wrong number changes nothing."""
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    on(fleet, "r-1", "login_on = 'next', login_since = now()")
    answers: list[str] = []

    def typed(question: str, word: str, *, yes: bool) -> None:
        assert not yes
        answers.append(f"{question} {word}")

    monkeypatch.setattr("backupflow.cli.rotate.confirm_typed", typed)
    monkeypatch.setattr("backupflow.cli.rotate.sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("tests.integration.scene.Stdin.isatty", lambda _: True)
    ok(fleet, "credential", "rotate", "fleet", "--cancel")
    (asked,) = answers
    assert asked.startswith("1 device is not known to take the old login (1 on new): r-1. Put the old login back on ")
    assert asked.endswith(" 1")
    assert opened(fleet, "sealed") == OLD.decode()
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    ok(fleet, "credential", "rotate", "fleet", "--cancel")
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--finish", "--cancel"), "one of them"),
        (("--finish", "--username", "x"), "take no login"),
        (("--cancel", "--password-stdin"), "take no login"),
        (("--yes", "3", "--password-stdin"), "--yes goes with"),
        (("--finish",), "fleet is not being rotated: there is nothing to finish"),
        (("--cancel",), "fleet is not being rotated: there is nothing to cancel"),
    ],
)
def test_what_cannot_be_meant_is_refused(fleet: Scene, words: tuple[str, ...], says: str) -> None:
    """In one line, and nothing is changed."""
    ran = fleet.run("credential", "rotate", "fleet", *words, stdin=NEW)
    assert ran.code in {Exit.USAGE, Exit.REFUSED}
    assert says in " ".join(ran.err.split())
    assert shown(fleet)["rotation"] is None


def test_an_edit_and_a_second_rotation_are_told_what_is_in_the_way(fleet: Scene) -> None:
    """Before anybody types a password, and whatever of the login it is."""
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    for words in (("rotate",), ("edit", "--username", "x"), ("edit", "--password-stdin", "--trust", "tofu")):
        ran = fleet.run("credential", words[0], "fleet", *words[1:], stdin=b"third")
        assert ran.code == Exit.REFUSED
        assert "fleet is being rotated: end that first, `credential rotate fleet --finish` or `--cancel`" in ran.err
    assert opened(fleet, "next_sealed") == NEW.decode()


def test_what_cannot_be_rotated_is_told_before_anybody_types_a_password(fleet: Scene) -> None:
    """A jump host has one login: that does not depend on what the next one is."""
    ok(fleet, "jump", "add", "hop-1", "203.0.113.7", "--profile", "fleet")
    ran = fleet.run("credential", "rotate", "fleet")
    assert ran.code == Exit.REFUSED
    assert "a jump host has one login, and hop-1 uses fleet" in ran.err


def test_an_edit_of_nothing_says_what_it_can_change(fleet: Scene) -> None:
    """`nothing to do` would be no answer for somebody who has lost his keys."""
    ran = fleet.run("credential", "edit", "fleet")
    assert ran.code == Exit.USAGE
    assert "--ask-password for a new password, --key-file FILE" in " ".join(ran.err.replace("│", " ").split())


def test_both_logins_move_to_the_newest_version_of_the_key(fleet: Scene) -> None:
    """And open there, when the older versions are retired."""
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    ok(fleet, "keys", "rotate")
    said = json.loads(ok(fleet, "keys", "rewrap", "--retire", "--wait", "0", "--json").out)
    assert (said["not_moved"], said["holds"], said["retired_below"]["credentials"]) == ([], [], 2)
    assert (opened(fleet, "sealed"), opened(fleet, "next_sealed")) == (OLD.decode(), NEW.decode())


def test_a_rotation_ends_with_the_keys_that_are_lost(fleet: Scene) -> None:
    """Nothing is left of it: one new secret for all, and no device is on what nobody has any more."""
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    on(fleet, "r-0", "login_on = 'next', login_since = now()")
    vault = fleet.install.wiring.vault("provisioner")
    path = f"transit/keys/{Purpose.CREDENTIALS}-{fleet.install.wiring.devices('reader').tenant('default')}"
    vault.call("POST", f"{path}/config", {"deletion_allowed": True})
    vault.call("DELETE", path)
    assert json.loads(ok(fleet, "keys", "renew", "--lost", "--confirm", "default", "--json").out)["logins"] == 1
    profile = shown(fleet)
    assert (profile["rotation"], profile["suspended_reason"]) == (None, KEYS_LOST)
    assert {tuple(r) for r in fleet.rows("SELECT login_on, refused_on, login_since FROM device")} == {
        ("current", None, None)
    }
    refused = fleet.run("credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    assert "the keys of fleet were lost: give it a new secret, `credential edit`" in refused.err
    ok(fleet, "credential", "edit", "fleet", "--password-stdin", "--trust", "tofu", stdin=NEW)
    assert opened(fleet, "sealed") == NEW.decode()


def test_who_was_left_behind_is_told_apart_from_a_login_that_is_wrong(fleet: Scene) -> None:
    """By what the others took since it was changed; until one has, the login itself may be wrong."""
    on(fleet, "r-0", "blocked_code = 'authentication_failed', blocked_at = now()")
    fleet.write("collector", "INSERT INTO alarm (code, scope) SELECT 'authentication_failed', 'device ' || id "
        "FROM device WHERE name = 'r-0'")  # fmt: skip
    for command in (("status",), ("credential", "show", "fleet"), ("device", "show", "r-0")):
        assert "credential edit fleet" in fleet.run(*command).out.decode()
    (row,) = fleet.rows("SELECT id FROM device WHERE name = 'r-1'")
    seq = fleet.observe(row.id, export_text("one"))
    fleet.write("collector", "UPDATE collection c SET login_sent_at = now(), login_id = l.id FROM credential_profile l "
        "WHERE c.seq = :seq AND l.name = 'fleet'", seq=seq)  # fmt: skip
    for command in (("status",), ("credential", "show", "fleet"), ("device", "show", "r-0")):
        said = fleet.run(*command).out.decode()
        assert "credential edit fleet" not in said
        assert "change it on" in said
    ok(fleet, "credential", "edit", "fleet", "--password-stdin", stdin=NEW)
    on(fleet, "r-0", "blocked_code = 'authentication_failed', blocked_at = now()")
    assert "credential edit fleet" in fleet.run("credential", "show", "fleet").out.decode()


def test_who_is_refused_while_the_other_login_has_its_turn_is_told_to_do_nothing(fleet: Scene) -> None:
    """By the command that asked, with the time; what is blocked is told what mends it, as ever."""
    ok(fleet, "credential", "rotate", "fleet", "--password-stdin", stdin=NEW)
    on(fleet, "r-2", "login_on = 'next', refused_on = 'current', hold_until = now() + interval '1 hour'")
    device = fleet.rows("SELECT id, tenant_id FROM device WHERE name = 'r-2'")[0]
    store = fleet.install.wiring.requests
    (number,) = store.ask(device.tenant_id, ["r-2"], "tester")
    began = fleet.claim(device.id)
    fleet.write(
        "collector",
        "UPDATE collection SET state = 'failed', code = 'authentication_failed', ended_at = now() WHERE id = :id",
        id=began.collection_id,
    )
    fleet.write(
        "scheduler",
        "UPDATE request SET answered_at = now(), answer = 'claimed', collection_id = :id WHERE id = :number",
        id=began.collection_id, number=number,
    )  # fmt: skip
    held = fleet.rows("SELECT hold_until FROM device WHERE name = 'r-2'")[0].hold_until
    (one,) = store.asked([number])
    when = f"{held.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    by_itself = f"nothing is to be done: the new login is sent by itself at {when}"
    assert next_of(one) == f"{by_itself}, see `device show r-2`"
    page = " ".join(ok(fleet, "device", "show", "r-2").out.decode().split())
    assert by_itself in page
    assert "see `device show" not in page  # which is this one
    ok(fleet, "device", "pause", "r-2")
    assert "when it is collected next" in (next_of(store.asked([number])[0]) or "")
    on(fleet, "r-2", "refused_on = login_on, blocked_code = 'authentication_failed', blocked_at = now()")
    assert "`credential edit fleet --ask-password`" in (next_of(store.asked([number])[0]) or "")
