"""The verdict in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.core.verdict import SERVERS, Count, counted_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.overview import Overview, SiteState
    from backupflow.core.verdict import Verdict

SITES = 2  # that are down and have their name in the line
_ALWAYS = (Count.OFFLINE, Count.BLOCKED, Count.PAUSED, Count.OVERDUE)
_ORDER = (
    Count.OFFLINE, Count.BLOCKED, Count.LOGIN, Count.NO_LOGIN, Count.BEHIND, Count.UNREADABLE, Count.FAILING,
    Count.STALE, Count.WAITING, Count.HELD, Count.MAINTENANCE, Count.PAUSED, Count.OVERDUE,
)  # fmt: skip


def verdict_line(verdict: Verdict, overview: Overview) -> str:
    """The word, why it is not OK, and the figures."""
    reasons = ", ".join(reason.says for reason in verdict.reasons)
    word = verdict.level.name + (f": {reasons} ·" if reasons else "")
    return f"{word} " + " · ".join([*counts(verdict, overview), *_of_work(overview), servers(verdict)])


def counts(verdict: Verdict, overview: Overview) -> Iterator[str]:
    """How many devices are what; those that are rare only where there are any."""
    tally = verdict.tally
    yield f"{tally[Count.FRESH]:,} of {tally.total:,} fresh"
    for what in _ORDER:
        if tally[what] or what in _ALWAYS:
            sites = _sites_down(overview) if what is Count.OFFLINE else ""
            yield f"{tally[what]:,} {what}" + (f" ({sites})" if sites else "")


def down(overview: Overview) -> list[tuple[SiteState, int]]:
    """The sites that are down, and how many devices count as offline with each; the largest first."""
    found = [(site, 0) for site in overview.sites if site.down_since]
    if not found:
        return []
    offline = [one.site_id for one in overview.devices if counted_as(one, overview.now) is Count.OFFLINE]
    return sorted(((site, offline.count(site.site_id)) for site, _ in found), key=lambda one: -one[1])


def _sites_down(overview: Overview) -> str:
    found = down(overview)
    words = [
        f"{site.name} down {_short(overview, site)}: {count:,}" for site, count in found[:SITES] if site.down_since
    ]
    if more := len(found) - SITES:
        words += [f"{output.counted(more, 'more site')}"] if more > 0 else []
    return ", ".join(words)


def _short(overview: Overview, site: SiteState) -> str:
    """The largest unit alone: 3 d."""
    span = output.span(overview.now - site.down_since) if site.down_since else ""
    return " ".join(span.split()[:2])


def _of_work(overview: Overview) -> Iterator[str]:
    slots, needed = overview.slots, None
    if overview.load is not None and overview.load.needed is not None:  # both of the normal lane
        slots, needed = overview.load.slots, overview.load.needed
    busy = f"{needed:,} of {output.counted(slots, 'slot')}" if needed is not None else output.counted(slots, "slot")
    took = overview.round
    yield f"round {' '.join(output.span(took).split()[:2])}, {busy}" if took else busy


def servers(verdict: Verdict) -> str:
    """What everything hangs on: those that are well, and what is wrong with each other one."""
    well = [name for name in SERVERS if not verdict.servers[name]]
    ill = [f"{name} {verdict.servers[name]}" for name in SERVERS if verdict.servers[name]]
    return ", ".join([*ill, *([f"{' '.join(well)} ok"] if well else [])])


def verdict_document(verdict: Verdict, overview: Overview) -> dict[str, Any]:
    """The same as JSON."""
    took, load = overview.round, overview.load
    return {
        "verdict": verdict.level.name.lower(),
        "exit_code": verdict.level.value,
        "line": verdict_line(verdict, overview),
        "reasons": [{"verdict": one.level.name.lower(), "says": one.says} for one in verdict.reasons],
        "counted": {what.value: verdict.tally[what] for what in Count},
        "total": verdict.tally.total,
        "should_be_fresh": verdict.tally.wanted,
        "not_fresh_percent": round(verdict.tally.missing, 2),
        "servers": {name: trouble or "ok" for name, trouble in verdict.servers.items()},
        "round_seconds": took,
        "mean_seconds": load.session if load else None,
        "slots": {
            "alive": overview.slots,
            "normal_lane": load.slots if load else None,
            "needed": load.needed if load else None,
            "running": overview.running,
        },
    }
