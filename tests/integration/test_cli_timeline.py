"""`history`, `show` and `diff`: what changed, told from sealed rows; masked, unless to reveal it is written down."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.exits import Exit
from backupflow.core.model import RawConfig
from backupflow.flows.interpret import interpret
from tests.conftest import copied_database, install_on
from tests.integration.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.embedded import Servers
    from tests.conftest import Install

PAGE = (Path(__file__).parents[2] / "docs/history.md").read_text(encoding="utf-8")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}Z")
PASSWORD = "hunter-two-7391"
NEXT_PASSWORD = "hunter-three-5512"
RULE = 'add action=accept chain=input comment="allow winbox" dst-port=8291 protocol=tcp src-address='
SUMMARY = 'ip/firewall/filter: accept rule "allow winbox": src-address 10.0.0.0/8 → 10.1.0.0/16'


def export_of(source: str = "10.0.0.0/8", password: str = PASSWORD, note: str = "", version: str = "7.14") -> RawConfig:
    """What a router says."""
    lines = [f"# 2026-11-20 10:00:00 by RouterOS {version}", "# software id = ABCD-EFGH", "#"]
    lines += ["/ip address", *[f"add address=192.0.2.{number}/32 interface=ether1" for number in range(1, 21)]]
    lines += ["/ip firewall filter", RULE + source, "add action=drop chain=input"]
    lines += ["/ppp secret", f"add name=alice password={password}"]
    lines += ["/system note", f'set note="{note}"'] if note else []
    return RawConfig("\r\n".join([*lines, ""]).encode())


def unexpected(exc: Exception) -> None:
    """Nothing is."""
    raise exc


def interpreted(scene: Scene) -> None:
    """What an interpreter does until it has done all."""
    assert interpret(scene.install.wiring.interpret_ports(unexpected), lambda: False).outcomes


def edited(scene: Scene) -> None:
    """A router whose rule was edited, then its password; all of it interpreted."""
    device_id = scene.add()
    for raw in (export_of(), export_of(), export_of("10.1.0.0/16"), export_of("10.1.0.0/16", NEXT_PASSWORD)):
        scene.observe(device_id, raw)
    interpreted(scene)


@pytest.fixture
def own(scene: Scene) -> Scene:
    """Edit a router in an install of its own, for what is done to it."""
    edited(scene)
    return scene


@pytest.fixture(scope="module")
def shared(servers: Servers, postgres_roles: Path, vault_roles: Path) -> Iterator[Install]:
    """Set up one install for all that is only looked at."""
    with copied_database(servers, postgres_roles) as database:
        made = install_on(servers, database, vault_roles)
        made.wiring.make_tenant()
        yield made
        made.wiring.close()


@pytest.fixture
def told(shared: Install, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Scene:
    """Look at the edited router of the shared install."""
    for name in ("REDIS_URL", "NATS_URL", "BACKUPFLOW_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    scene = Scene(shared, monkeypatch, capfdbinary)
    if not scene.rows("SELECT 1 FROM device"):
        edited(scene)
    return scene


def acts(scene: Scene, after: int = 0) -> list[dict[str, object]]:
    """What was written down of secrets that were shown, after a number of the audit."""
    found = "SELECT detail FROM audit WHERE action = 'config_revealed' AND id > :after ORDER BY id"
    return [row.detail for row in scene.rows(found, after=after)]


def test_history_tells_each_change_in_a_line(told: Scene) -> None:
    """The newest first, with the lines it took, and the first snapshot at the end."""
    done = told.run("history", "core-1")
    assert done.code == Exit.OK
    lines = done.out.decode().splitlines()
    assert lines[0].startswith("core-1: unchanged since 2")
    assert "(1 collection)" in lines[0]
    assert [line.split()[0] for line in lines if line.startswith("   ") and line.split()[0].isdigit()] == [
        "4",
        "3",
        "1",
    ]
    assert "  +1 −1" in lines[1]
    assert lines[2] == '    ppp/secret: user "alice": password ••• changed'
    assert lines[4] == f"    {SUMMARY}"
    assert lines[5].endswith("first snapshot")


def test_a_router_that_never_changed_shows_its_one_snapshot(scene: Scene) -> None:
    """And since when it is so."""
    device_id = scene.add()
    for _ in range(3):
        scene.observe(device_id, export_of())
    interpreted(scene)
    lines = scene.run("history", "core-1").out.decode().splitlines()
    assert lines[0].startswith("core-1: unchanged since ")
    assert ", last seen " in lines[0]
    assert lines[0].endswith("(3 collections)")
    assert lines[1].endswith("first snapshot")
    assert lines[-1] == "all of it: `show core-1 1`"
    assert scene.run("show", "core-1", "1").code == Exit.OK


def test_what_is_not_interpreted_yet_says_so(scene: Scene) -> None:
    """It is in the list at once, and counted."""
    device_id = scene.add()
    scene.observe(device_id, export_of())
    scene.observe(device_id, export_of("10.1.0.0/16"))
    lines = scene.run("history", "core-1").out.decode().splitlines()
    assert lines[1].endswith("not interpreted yet")
    assert lines[3] == "2 changes that are not interpreted yet (usually seconds)"
    scene.write("operator", "UPDATE collection SET stored_at = now() - interval '1 hour'")
    assert "not interpreted yet, some for long: see `status`" in scene.run("history", "core-1").out.decode()


def test_no_secret_is_told_unless_it_is_revealed(told: Scene) -> None:
    """In no form of any command; revealed they are there, in each, which shows that this looks at the right place."""
    for words in (
        ("history", "core-1"),
        ("history", "core-1", "--json"),
        ("diff", "core-1"),
        ("diff", "core-1", "--json"),
        ("diff", "core-1", "--side-by-side"),
        ("diff", "core-1", "1", "4"),
        ("show", "core-1"),
        ("show", "core-1", "--json"),
    ):
        masked, revealed = told.run(*words), told.run(*words, "--reveal")
        assert (masked.code, revealed.code) == (Exit.OK, Exit.OK), words
        assert NEXT_PASSWORD.encode() not in masked.out, words
        assert PASSWORD.encode() not in masked.out, words
        assert NEXT_PASSWORD.encode() in revealed.out, words
    every = told.run("history", "--all", "--json")
    assert every.code == Exit.OK
    assert PASSWORD.encode() not in every.out


def test_to_reveal_is_one_act_with_what(told: Scene) -> None:
    """Who only looks at what is masked leaves none."""
    before = told.rows("SELECT max(id) AS last FROM audit")[0].last
    told.run("history", "core-1")
    told.run("diff", "core-1")
    told.run("show", "core-1")
    assert acts(told, before) == []
    told.run("history", "core-1", "--reveal")
    told.run("diff", "core-1", "3", "--reveal")
    told.run("diff", "core-1", "1", "4", "--reveal")
    told.run("show", "core-1", "1", "--raw", "--reveal")
    assert acts(told, before) == [
        {"what": "history", "from_seq": 1, "to_seq": 4},
        {"what": "diff", "seq": 3, "after_seq": 2},
        {"what": "diff", "seq": 4, "after_seq": 1},
        {"what": "raw", "seq": 1},
    ]
    assert told.run("history", "--all", "--reveal").code == Exit.USAGE


def test_nothing_is_revealed_that_cannot_be_written_down(own: Scene) -> None:
    """If the audit takes no row, nothing comes out; what is masked needs none."""
    own.write("migrator", "REVOKE INSERT ON audit FROM backupflow_reader")
    assert own.run("show", "core-1").code == Exit.OK
    for words in (("show", "core-1"), ("diff", "core-1"), ("history", "core-1")):
        with pytest.raises(Exception, match="permission denied"):
            own.run(*words, "--reveal")
        assert own.capture.readouterr().out == b""


def test_a_diff_is_of_the_last_change_unless_one_is_named(told: Scene) -> None:
    """By the number of any collection of its run, too."""
    last = told.run("diff", "core-1").out.decode()
    assert last == told.run("diff", "core-1", "4").out.decode() == told.run("diff", "core-1", "now").out.decode()
    assert "+add name=alice password=••• changed" in last.splitlines()
    rule = told.run("diff", "core-1", "3").out.decode().splitlines()
    assert rule[0].startswith(
        "--- core-1, snapshot 1, collected 2"
    )  # as it is listed, though 2 was the last to show it
    assert rule[1].startswith("+++ core-1, snapshot 3, collected 2")
    assert [line for line in rule[2:] if line[0] in "+-"] == [f"-{RULE}10.0.0.0/8", f"+{RULE}10.1.0.0/16"]
    first = told.run("diff", "core-1", "2")
    assert (first.code, first.out) == (Exit.NOT_FOUND, b"")
    assert "nothing is kept that snapshot 1 of core-1 could be compared with" in first.err


def test_a_time_alone_is_compared_with_now(told: Scene) -> None:
    """What has changed since then."""
    third = told.rows("SELECT collected_at FROM collection WHERE seq = 3")[0].collected_at
    since = told.run("diff", "core-1", third.isoformat()).out.decode().splitlines()
    assert since[0].startswith("--- core-1, snapshot 3")
    assert since[1].startswith("+++ core-1, snapshot 4")
    assert told.run("diff", "core-1", "2001-01-01").code == Exit.NOT_FOUND
    assert told.run("diff", "core-1", "yesterday").code == Exit.USAGE


def test_any_two_are_compared_in_either_direction(told: Scene) -> None:
    """The one from which the other is reached by two changes, and back."""
    there = json.loads(told.run("diff", "core-1", "1", "4", "--json").out)
    back = json.loads(told.run("diff", "core-1", "4", "1", "--json").out)
    assert (there["lines_added"], there["lines_removed"], there["old"]["snapshot"]) == (2, 2, 1)
    (hunk,) = there["hunks"]
    assert (hunk["component"], hunk["old_start"]) == ("ip/address", hunk["new_start"])
    assert back["new"]["snapshot"] == 1
    assert f"+{RULE}10.0.0.0/8" in back["hunks"][0]["lines"]
    same = told.run("diff", "core-1", "1", "2").out.decode().splitlines()
    assert same[-1] == "they are equal"


def test_neighbours_are_compared_as_they_were_when_it_changed(own: Scene) -> None:
    """The diff that was sealed with the change is the one that is made anew: with more around it, it is."""
    stored = own.run("diff", "core-1", "2", "3", "--json").out
    own.write("migrator", "UPDATE interpretation SET diff_sealed = NULL")
    assert own.run("diff", "core-1", "2", "3", "--json").out == stored
    wide = own.run("diff", "core-1", "3", "--context", "100").out.decode().splitlines()
    assert len(wide) > len(own.run("diff", "core-1", "3").out.decode().splitlines()) + 10
    none = own.run("diff", "core-1", "3", "-U", "0").out.decode().splitlines()
    assert [line[0] for line in none] == ["-", "+", "@", "-", "+"]


def test_a_sealed_diff_of_another_change_is_not_shown(own: Scene) -> None:
    """Swapped ciphertexts are found by their label; the texts themselves are compared instead."""
    before = own.run("diff", "core-1", "3").out
    assert before.startswith(b"--- core-1, snapshot 1, ")
    swap = """UPDATE interpretation a SET diff_sealed = b.diff_sealed, changes_sealed = b.changes_sealed
        FROM interpretation b WHERE a.seq = 3 AND b.seq = 4"""
    own.write("migrator", swap)
    assert own.run("diff", "core-1", "3").out == before
    history = own.run("history", "core-1")
    assert history.code == Exit.DATA
    assert "DAMAGED: what was told of it is not what was written" in history.out.decode()
    assert "src-address" not in history.out.decode()
    assert "reinterpret core-1" in history.err


def test_two_devices_are_compared(own: Scene) -> None:
    """Their current ones, or one of each; revealing is written down for both."""
    own.observe(own.add("core-2", "192.0.2.2"), export_of("10.9.0.0/16", NEXT_PASSWORD))
    across = own.run("diff", "core-1", "--with", "core-2").out.decode().splitlines()
    assert across[0].startswith("--- core-1, snapshot 4")
    assert across[1].startswith("+++ core-2, snapshot 1")
    assert [line for line in across[2:] if line[0] in "+-"] == [f"-{RULE}10.1.0.0/16", f"+{RULE}10.9.0.0/16"]
    older = json.loads(own.run("diff", "core-1", "1", "--with", "core-2", "--json").out)
    assert older["old"]["snapshot"] == 1
    assert older["lines_added"] == 2
    own.run("diff", "core-1", "--with", "core-2", "--reveal")
    assert acts(own) == [
        {"what": "diff", "seq": 4, "other": "core-2", "other_seq": 1},
        {"what": "diff", "seq": 1, "other": "core-1", "other_seq": 4},
    ]


def test_a_count_by_menu_and_two_columns(told: Scene) -> None:
    """As short as can be, and side by side."""
    stat = told.run("diff", "core-1", "1", "4", "--stat").out.decode().splitlines()
    assert [line.split()[:3] for line in stat] == [
        ["ip/firewall/filter", "|", "2"],
        ["ppp/secret", "|", "2"],
        ["+2", "−2", "in"],
    ]
    beside = told.run("diff", "core-1", "3", "-y").out.decode().splitlines()
    assert any("10.0.0.0/8" in line.partition("│")[0] and "10.1.0.0/16" in line.partition("│")[2] for line in beside)
    assert told.run("diff", "core-1", "--stat", "-y").code == Exit.USAGE


def test_show_gives_the_normal_form_of_any_snapshot(told: Scene) -> None:
    """The header's date is no part of it; which one it is, as it is listed, stands beside it."""
    now, then = told.run("show", "core-1"), told.run("show", "core-1", "2")
    assert f"{RULE}10.1.0.0/16" in now.out.decode().splitlines()
    assert f"{RULE}10.0.0.0/8" in then.out.decode().splitlines()
    assert "add name=alice password=•••" in then.out.decode().splitlines()
    assert "2026-11-20" not in then.out.decode()
    assert then.err.startswith("snapshot 1 of core-1, collected 2")
    assert told.run("show", "core-1", "9").code == Exit.NOT_FOUND


def test_what_a_router_gave_is_shown_only_if_revealed(told: Scene) -> None:
    """Byte for byte where it is piped."""
    refused = told.run("show", "core-1", "1", "--raw")
    assert (refused.code, refused.out) == (Exit.REFUSED, b"")
    assert told.run("show", "core-1", "1", "--raw", "--reveal").out == export_of()


def test_history_of_a_menu_and_since_when(told: Scene) -> None:
    """By the path of the menu as RouterOS writes it, too."""

    def seqs(*words: str) -> list[int]:
        changes = json.loads(told.run("history", *words, "--json").out)["changes"]
        return [change["snapshot"] for change in changes]

    assert seqs("core-1", "--component", "/ip firewall") == [3]
    assert seqs("core-1", "--component", "ppp") == [4]
    assert seqs("core-1", "--limit", "1") == [4]
    assert seqs("core-1", "--since", "1d") == [4, 3, 1]
    assert seqs("core-1", "--since", "2999-01-01") == []
    assert seqs("--all", "--since", "1d", "--component", "ip/firewall") == [3]
    nothing = told.run("history", "core-1", "--component", "queue").out.decode().splitlines()
    assert nothing[1] == "no change of core-1 is known in queue"
    for words in (("core-1",), ("--all",)):
        near = told.run("history", *words, "--component", "ip/firewal").out.decode()
        assert "is known in ip/firewal: did you mean ip/firewall?" in near
    assert told.run("history").code == Exit.USAGE
    assert told.run("history", "core-1", "--all").code == Exit.USAGE


def test_a_document_has_all_that_is_told(told: Scene) -> None:
    """With masked values, property by property."""
    document = json.loads(told.run("history", "core-1", "--json").out)
    newest, rule, first = document["changes"]
    assert document["observations"] == 1
    assert (first["kind"], first["after_snapshot"], first["changes"]) == ("first", None, [])
    assert (rule["kind"], rule["after_snapshot"], rule["lines_added"], rule["components"]) == (
        "change",
        1,
        1,
        ["ip/firewall/filter"],
    )
    (change,) = rule["changes"]
    assert rule["summaries"] == [SUMMARY]
    assert change["properties"] == [{"name": "src-address", "old": "10.0.0.0/8", "new": "10.1.0.0/16", "secret": False}]
    (secret,) = newest["changes"]
    assert secret["properties"] == [{"name": "password", "old": "•••", "new": "•••", "secret": True}]


def test_a_document_calls_an_item_what_its_line_calls_it(scene: Scene) -> None:
    """By the name that it had: who follows it from one document to the next finds it."""
    device_id = scene.add()
    for name in ("alice", "bob"):
        scene.observe(device_id, RawConfig(export_of().replace(b"name=alice", f"name={name}".encode())))
    interpreted(scene)
    told = json.loads(scene.run("history", "core-1", "--json").out)["changes"][0]
    assert told["summaries"][0].startswith('ppp/secret: user "alice": name ')
    assert [one["item"] for one in told["changes"]] == ['user "alice"']


def test_another_tenant_sees_nothing(told: Scene) -> None:
    """Neither by name nor in the list of all."""
    told.install.wiring.make_tenant("acme")
    for words in (("history", "core-1"), ("show", "core-1"), ("diff", "core-1")):
        done = told.run(*words, "--tenant", "acme")
        assert (done.code, done.out) == (Exit.NOT_FOUND, b"")
    assert json.loads(told.run("history", "--all", "--json", "--tenant", "acme").out)["changes"] == []


def test_what_a_router_says_does_nothing_to_a_terminal(scene: Scene) -> None:
    """An upgrade to a version that is an escape sequence."""
    device_id = scene.add()
    scene.observe(device_id, export_of())
    scene.observe(device_id, export_of(note="\\1B]0;owned\\07"))
    interpreted(scene)
    for words in (("history", "core-1"), ("diff", "core-1"), ("show", "core-1"), ("diff", "core-1", "-y")):
        assert b"\x1b" not in scene.run(*words, "--reveal").out


def test_a_rule_of_now_holds_for_what_was_told_before(own: Scene) -> None:
    """What it covers is counted, not told, and comes back when the rule goes; a diff shows it all the same."""
    before = own.run("history", "core-1").out.decode()
    assert SUMMARY in before
    own.run("ignore", "add", "--device", "core-1", "ip/firewall/filter:src-address")
    hidden = own.run("history", "core-1").out.decode()
    assert SUMMARY not in hidden
    assert hidden.splitlines()[4] == "    +1 ignored"
    rule = json.loads(own.run("history", "core-1", "--json").out)["changes"][1]
    assert (rule["snapshot"], rule["changes"], rule["summaries"], rule["ignored"]) == (3, [], [], 1)
    assert f"+{RULE}10.1.0.0/16" in own.run("diff", "core-1", "3").out.decode().splitlines()
    own.run("ignore", "remove", "--device", "core-1", "ip/firewall/filter:src-address")
    assert own.run("history", "core-1").out.decode() == before


def test_the_page_shows_what_the_commands_say(told: Scene) -> None:
    """Each example of docs/history.md, word for word, but for the times."""
    blocks = re.findall(r"^```console\n\$ backupflow (.*?)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for typed, shown in blocks:
        done = told.run(*shlex.split(typed))
        assert done.code == Exit.OK, typed
        assert TIME.sub("TIME", done.out.decode()) == TIME.sub("TIME", shown), typed
