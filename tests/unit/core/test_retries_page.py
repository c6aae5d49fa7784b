"""The page that says what follows a failure, and when: its tables are what the code does."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.core import backoff, firewall, outages, presence, refusals, rotation
from backupflow.core.model import Lane, State
from backupflow.errors import DeviceTimeout, Verdict

if TYPE_CHECKING:
    from backupflow.core.backoff import Decision

PAGE = Path(__file__).resolve().parents[3] / "docs/retries.md"
HIGHEST = 1 - 1e-9  # of the dice
IN_A_ROW = range(6)
NEVER = {Verdict.HALT, Verdict.REFUSE}  # met by a process, or by a person: never by a device


def tables() -> dict[str, list[list[str]]]:
    """The tables of the page, by the first word of their header; a row begins with its name."""
    found: dict[str, list[list[str]]] = {}
    for table in re.findall(r"(?m)(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8")):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        found[header[0]] = rows
    return found


def said(span: timedelta) -> str:
    """A span as the page says it."""
    seconds = round(span.total_seconds())
    parts = ((seconds // 3600, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def between(lowest: Decision, highest: Decision) -> str:
    """When a device is due again, by the lowest and the highest throw."""
    if lowest.blocks:
        return "blocked"
    if lowest.again_in is None or highest.again_in is None:
        return "its turn"
    if not lowest.again_in:
        return f"0–{said(highest.again_in)}"
    return f"{said(lowest.again_in)} – {said(highest.again_in)}"


def decided(what: str, before: int, dice: float) -> Decision:
    """What the code decides after so many of the same in a row."""
    match what:
        case "lost":
            return backoff.after_loss(before, dice)
        case "unexpected":
            return backoff.after_defect(before, dice)
        case "jump host":
            return backoff.after_jump_trouble(dice)
        case _:
            return backoff.after_failure(Verdict(what), before, before, dice)


def test_each_verdict_and_number_of_failures_is_due_when_the_page_says() -> None:
    """Also whether it counts, and how the collection ends; nothing is left out."""
    rows = {row[0].strip("*`"): row[1:] for row in tables()["after"]}
    assert set(rows) == {*(set(Verdict) - NEVER), "lost", "unexpected", "jump host"}
    for what, cells in rows.items():
        ends = [(decided(what, before, 0), decided(what, before, HIGHEST)) for before in IN_A_ROW]
        counts = "yes" if ends[0][0].counts else "no"
        assert cells == [str(ends[0][0].state), counts, *(between(*one) for one in ends)], what


def test_what_no_device_meets_is_not_in_the_table() -> None:
    """They end a process or an act; the page names them."""
    assert {f"`{verdict}`" for verdict in NEVER} <= set(re.findall(r"`\w+`", PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("failures", [6, 100])
def test_the_last_column_goes_on(failures: int) -> None:
    """From the sixth failure on nothing changes any more."""
    assert backoff.step(failures, 0) == backoff.step(5, 0)


def test_every_other_time_is_the_one_of_the_code() -> None:
    """Sites, jump hosts, logins, presence, and the windows of the example firewall."""
    first, *later = refusals.FIRST_TRIALS
    expected = {
        "what is due at once is spread over": said(backoff.AGAIN_WITHIN),
        "losses or pauses in a row until they wait like a failure": str(backoff.LOST_IN_A_ROW),
        "a wait is longer than its step by": f"{backoff.JITTER[0]:.0%} – {backoff.JITTER[1]:.0%}".replace("%", " %"),
        "devices that go away together": str(outages.AT_LEAST),
        "their share of those that were heard from or went away since": f"{outages.SHARE:.0%}".replace("%", " %"),
        "who went away earlier is dead by itself": said(outages.TOGETHER),
        "one device of a site that is down is tried every": said(outages.PROBE_EVERY),
        "the next two take turns after": said(outages.TURNS * outages.PROBE_EVERY),
        "when it answers all that waited are due within": said(outages.SPREAD),
        "failures in a row of one device until it is an alarm": str(outages.DOWN_AFTER),
        "a jump host that is down is tried after": "{} – {}".format(
            *(said(backoff.jump_retry(timedelta(minutes=5), dice)) for dice in (0, HIGHEST))
        ),
        "refusals are counted together within": said(refusals.WINDOW),
        "devices that refuse it together": str(refusals.AT_LEAST),
        "their share of those that were sent it": f"{1 / refusals.ONE_IN:.0%}".replace("%", " %"),
        "refusals of one device until it is blocked by itself, trials apart": str(refusals.MOST_TIMES),
        "a suspended login is tried after": ", ".join(said(one) for one in (first, *later)),
        "then every": said(refusals.LATER_TRIALS),
        "when it is taken its devices are due within": said(refusals.SPREAD),
        "the other of two logins is tried after": said(rotation.OTHER_AFTER),
        "a poller's word is asked for again after": said(presence.LOOK_AGAIN),
        "first list": f"{said(firewall.LISTS[0])}, we reckon with {said(firewall.FIRST)}",
        "second list": f"{said(firewall.LISTS[1])}, we reckon with {said(firewall.SECOND)}",
        "third list": f"{said(firewall.LISTS[2])}, we reckon with {said(firewall.THIRD)}",
        "not applied where the interval is shorter than": said(firewall.SHORTEST_INTERVAL),
        "a time farther ahead means nothing": said(firewall.LONGEST),
    }
    shown = {row[0]: row[1] for name, rows in tables().items() if name != "after" for row in rows}
    assert shown == expected


def test_the_lanes_are_named_as_the_queues_are() -> None:
    """And what leads into the slow one."""
    text = PAGE.read_text(encoding="utf-8")
    assert {f"`{lane}`" for lane in Lane} | {f"`{DeviceTimeout.code}`"} <= set(re.findall(r"`[\w.]+`", text))
    assert State.FAILED in text
