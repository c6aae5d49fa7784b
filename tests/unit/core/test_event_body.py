"""What an event says: by names, bounded, masked, and as the page about it has it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from backupflow.core.delivery import GIVEN_UP_AFTER, LONGEST_WAIT, Answer, Event, after_failure
from backupflow.core.event_body import LONGEST_TEXT, VERSION, body, environment, masked, trial_body, with_changes
from backupflow.core.events import Kind
from backupflow.core.gathering import RAISED, About, Happened, Key
from backupflow.core.hook_target import Address, Command, target
from backupflow.core.model import Seq
from backupflow.core.told_change import ToldChange
from backupflow.errors import InputInvalid

PAGE = (Path(__file__).parents[3] / "docs/events.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
EVENT = UUID(int=9)
MARKER = "Zq9-planted-marker"


def said(kind: Kind, code: str, *abouts: About, place: str = "") -> dict[str, Any]:
    """The body of an event about these."""
    rows = [
        Happened(n, RAISED, code, f"scope {n}", NOW, NOW, place=place, about=about) for n, about in enumerate(abouts)
    ]
    read: dict[str, Any] = json.loads(body(EVENT, Key(None, kind, code, place), rows, NOW))
    return read


def test_the_fields_are_those_of_the_page() -> None:
    """Each is described there, and none is described that is not."""
    [table] = re.findall(r"(?s)\| field \| what it is \|\n\|---\|---\|\n(.+?)\n\n", PAGE)
    described = {name for line in table.splitlines() for name in line.split("|")[1].strip().split(", ")}
    read = said(Kind.DOWN, "site_down", About(site="north"))
    assert set(read) == described == set(json.loads(trial_body(EVENT, NOW)))
    assert read["version"] == VERSION == 1
    named = {f"BACKUPFLOW_EVENT_{name.upper()}" for name in read if name != "changes"}
    assert named == set(re.findall(r"BACKUPFLOW_EVENT_\w+", PAGE))
    assert set(environment(trial_body(EVENT, NOW))) == set(re.findall(r"BACKUPFLOW_EVENT_\w+", PAGE))


def test_each_kind_is_on_the_page() -> None:
    """With whether its end is told."""
    told = dict(re.findall(r"(?m)^\| (\w+) \| [^|]+ \| ?(\w*)[^|]*\|$", PAGE.partition("## What an event says")[0]))
    del told["kind"]
    assert set(told) == set(Kind)
    assert {kind for kind, answer in told.items() if answer == "yes"} == {kind for kind in Kind if kind.recovers}


def test_the_check_on_the_page_is_right() -> None:
    """Receivers copy it: it takes what we sign, also with two secrets, and nothing that was altered or is old."""
    [code] = re.findall(r"(?s)```python\n(.+?)```", PAGE)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the page's own lines
    check = names["is_from_backupflow"]
    secret, other = "whsec_" + "QUJD" * 8, "whsec_" + "REVG" * 8
    text, at = trial_body(EVENT, NOW), datetime.now(UTC)

    def headers(at: datetime, *signers: str) -> dict[str, str]:
        signatures = " ".join(Webhook(one).sign("evt_1", at, text) for one in signers)
        stamp = str(int(at.timestamp()))
        return {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": signatures}

    assert check(secret, headers(at, secret), text.encode())
    assert check(secret, headers(at, other, secret), text.encode())
    assert not check(secret, headers(at, other), text.encode())
    assert not check(secret, headers(at, secret), text.encode() + b" ")
    assert not check(secret, headers(at - timedelta(minutes=10), secret), text.encode())


@pytest.mark.parametrize(
    ("kind", "code", "abouts", "text", "remedy"),
    [
        (
            Kind.BLOCKED, "host_key_mismatch", [About("core 1", detail="core 1: SHA256:a")],
            "core 1: SHA256:a", "`hostkey show 'core 1'`; compare with the router's own key before",
        ),
        (Kind.DOWN, "device_down", [About("a"), About("b")], "2 devices: device down", "docs/runbook/device_down.md"),
        (Kind.DOWN, "jump_host_unreachable", [About(jump_host="x y")], "jump host x y: jump host unreachable",
         "`jump show 'x y'`"),
        (Kind.SUSPENDED, "login_refused", [About(profile="p")], "login p: login refused",
         "`credential "),
        (Kind.DEPENDENCY, "quarantine", [About(), About()], "2 times: quarantine", "docs/runbook/quarantine.md"),
        (Kind.RECOVERED, "site_down", [About(site="north")], "site north: site down is over", ""),
        (Kind.DEPENDENCY, "job_late", [About()], "scope 0: job late", "docs/runbook/job_late.md"),
    ],
)  # fmt: skip
def test_it_says_what_and_who_and_what_to_do(
    kind: Kind, code: str, abouts: list[About], text: str, remedy: str
) -> None:
    """In the words of the alarm where there is one only, and with the command that `status` shows."""
    read = said(kind, code, *abouts)
    assert read["text"] == text
    assert read["remedy"].startswith(remedy) if remedy else not read["remedy"]


@pytest.mark.parametrize(
    "text",
    [
        f"password={MARKER}",
        f'add name=joe password="{MARKER} {MARKER}" x',
        f"/ppp secret add name='{MARKER}'",
        f"psk: {MARKER}",
        f"Passphrase : {MARKER}",
        f'"token": "{MARKER}"',
        f"wpa2-pre-shared-key={MARKER}",
        f"private-key: {MARKER}",
        f"vault:v12:{MARKER}",
        f"-----BEGIN OPENSSH PRIVATE KEY----- {MARKER}",
        "x" * 290 + f"password={MARKER}",
    ],
)
def test_nothing_that_looks_like_a_value_is_told(text: str) -> None:
    """Wherever it stands in what a router said; the same text without the mask does show it."""
    assert MARKER in text
    for whole in (text, f"r1: it said: {text}", f"{text}\nsecond line"):
        assert MARKER not in masked(whole)
        assert MARKER not in json.dumps(said(Kind.BLOCKED, "export_suspect", About("r1", detail=whole)))
        assert MARKER not in json.dumps(said(Kind.BLOCKED, "export_suspect", About("r1", detail=whole), About("r2")))


def test_a_long_text_is_cut() -> None:
    """What a router says may be megabytes."""
    assert masked("x" * 1_000_000) == "x" * (LONGEST_TEXT - 1) + "…"


@given(st.text(max_size=600))
def test_what_a_router_said_is_one_bounded_printable_line(text: str) -> None:
    """Whatever it said: no control character reaches a terminal, a mail or a variable, nor more than has its place."""
    line = masked(text)
    assert line.isprintable()
    assert len(line) <= LONGEST_TEXT
    read = said(Kind.BLOCKED, "export_suspect", About(text, text, detail=text))
    assert all(value.isprintable() for value in environment(json.dumps(read)).values())
    assert len(json.dumps(read)) < 12_000


CHANGE = ToldChange("change", Seq(7), Seq(5), 3, 1, 1200, 3, ("ip/firewall/filter", "system/identity"))
LINE = 'ip/firewall/filter: accept rule "allow winbox": src-address 10.0.0.0/8 → 10.1.0.0/16'


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (CHANGE, "core 1: 3 changes in ip/firewall/filter, system/identity (+1,200 -3 lines)"),
        (replace(CHANGE, kind="upgrade", components=()), "core 1: upgraded, 3 changes (+1,200 -3 lines)"),
        (replace(CHANGE, changes=1, components=("a",) * 9), "core 1: 1 change in a, a, a, a, a, … (+1,200 -3 lines)"),
        (replace(CHANGE, kind="unread", changes=0), "core 1: changed; what changed could not be read"),
    ],
)
def test_a_change_is_told_by_its_counts(change: ToldChange, text: str) -> None:
    """In clear only menus and numbers; and the command that shows it."""
    read = said(Kind.CHANGED, "changed", About("core 1", "north", change=change), place="x")
    assert (read["text"], read["remedy"], read["severity"]) == (text, "`diff 'core 1' 5 7`", "info")
    assert (read["seq"], read["after_seq"], read["change_count"], read["changes"]) == (7, 5, change.changes, [])
    assert (read["devices"], read["site"], read["components"]) == (["core 1"], "north", list(change.components))


def test_lines_of_a_change_are_put_in_byte_for_byte_the_same() -> None:
    """In their place among the fields, in ASCII; a command has them a line each."""
    rows = [Happened(1, "changed", "changed", "device x", NOW, NOW, about=About("r", change=CHANGE))]
    closed = body(EVENT, Key(None, Kind.CHANGED, "changed", "x"), rows, NOW)
    opened = with_changes(closed, [LINE, "and 3 more"])
    assert opened == with_changes(closed, [LINE, "and 3 more"])
    assert opened.isascii()
    assert list(json.loads(opened)) == list(json.loads(closed))
    assert json.loads(opened) == json.loads(closed) | {"changes": [LINE, "and 3 more"]}
    assert with_changes(closed, []) == closed
    assert not [value for value in environment(opened).values() if "allow winbox" in value]
    assert environment(opened)["BACKUPFLOW_EVENT_SEQ"] == "7"


@pytest.mark.parametrize(
    "text", [f"password={MARKER}", f"x token={MARKER}", f"-----BEGIN {MARKER}", f"vault:v1:{MARKER}"]
)
def test_a_secret_that_a_summary_let_through_is_masked(text: str) -> None:
    """Summaries have none; what looks like one all the same is not told. What it was changed from and to is."""
    rows = [Happened(1, "changed", "changed", "device x", NOW, NOW, about=About("r", change=CHANGE))]
    closed = body(EVENT, Key(None, Kind.CHANGED, "changed", "x"), rows, NOW)
    assert MARKER not in with_changes(closed, [text])
    assert MARKER in with_changes(closed, [f"comment {MARKER} → b"])
    assert 'ppp/secret: user \\"a\\" added' in with_changes(closed, ['ppp/secret: user "a" added'])


ANSWER = Answer(delivered=False, says="no")


@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True), st.integers(0, 100_000))
def test_waits_grow_to_an_hour_and_end_after_three_days(attempts: int, dice: float, asked: int) -> None:
    """Never less than before, never more than an hour and a quarter, what is asked for at the most an hour."""
    event = Event(EVENT, 1, "{}", attempts, NOW - timedelta(hours=2))
    failed = after_failure(event, ANSWER, NOW, dice)
    longer = after_failure(Event(EVENT, 1, "{}", attempts + 1, NOW), ANSWER, NOW, dice)
    assert failed.again_in is not None
    assert longer.again_in is not None
    assert timedelta(seconds=10) <= failed.again_in <= longer.again_in <= LONGEST_WAIT * 1.25
    assert failed.told is True
    assert longer.told is False
    patient = after_failure(event, Answer(delivered=False, says="", wait=timedelta(seconds=asked)), NOW, dice)
    assert patient.again_in is not None
    assert patient.again_in >= min(timedelta(seconds=asked), LONGEST_WAIT)
    assert patient.again_in <= LONGEST_WAIT * 1.25
    given_up = after_failure(Event(EVENT, 1, "{}", attempts, NOW - GIVEN_UP_AFTER), ANSWER, NOW, dice)
    assert (given_up.again_in, given_up.told) == (None, True)


def test_who_wants_no_more_of_it_is_not_asked_again() -> None:
    """410: given up at the first attempt, and nothing else waits for that."""
    failed = after_failure(Event(EVENT, 1, "{}", 0, None), Answer(delivered=False, says="", gone=True), NOW, 0.0)
    assert (failed.again_in, failed.pause, failed.told) == (None, timedelta(0), True)


def test_a_hook_is_a_command_or_an_address() -> None:
    """Words as a shell has them, or https and http; of an address a person is shown who it is only."""
    assert target("") is None
    assert target("  ") is None
    assert target("/bin/tell 'a b' $X") == Command(("/bin/tell", "a b", "$X"))
    assert target("https://h.example/T0/secret?x=1") == Address("https", "h.example", 443, "/T0/secret?x=1")
    assert target("HTTP://[::1]:8080") == Address("http", "::1", 8080, "/")
    shown = [one.shown for one in map(target, ("https://h/secret", "http://[::1]:81/secret", "tell secret")) if one]
    assert shown == ["https://h", "http://[::1]:81", "command tell"]


@pytest.mark.parametrize(
    "text", ["ftp://h/", "https:///", "https://h#x", "https://h:0/", "https://h:70000/", "https://h/ü", "'", "a\0b"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    """Without quoting it."""
    with pytest.raises(InputInvalid) as refused:
        target(text)
    assert text not in refused.value.detail


def test_a_login_in_an_address_is_refused() -> None:
    """A setting is no place for it, and events are signed."""
    with pytest.raises(InputInvalid, match="signed") as refused:
        target("https://me:hunter2@example.net/")
    assert "hunter2" not in refused.value.detail
