"""How routers were spoken to: never twice at once (I4), never before the pin (I6), never after a block (I7)."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from tests.checker.case import Case, Evidence, Terms
    from tests.checker.values import HostKey, Row

ALWAYS = timedelta(days=36500)
WINDOW, MANY = timedelta(minutes=15), 5  # in which so many devices refuse one login: it is suspended, they are not
RETIRES = {"host_key_accepted", "host_key_reset", "device_replaced"}
BLOCKED_BY_TESTS = {
    "authentication_failed",
    "host_key_mismatch",
    "host_key_unapproved",
    "algorithms_incompatible",
    "ssh_downgraded",
}
REFUSED = "authentication_failed"
FORCED_PAST = {"authentication_failed", "algorithms_incompatible"}  # where a person may try once more
UNBLOCKS = RETIRES | {"host_key_approved", "host_key_expected", "device_unblocked", "device_edited"}


def one_at_a_time(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I4: no session began before the one before it had ended, each belongs to a row of its own, and within its time.

    What a process did that stood still is judged by what became of it: nothing of it is stored (I1).
    """
    for case in evidence.cases:
        for before, after in pairwise(case.router.sessions):
            ended = before.closed_at or after.opened_at + ALWAYS
            still = terms.stood_still(before.opened_at, ended)
            if after.opened_at < ended - terms.slack and not still:
                until = f"ended at {before.closed_at}" if before.closed_at else "never ended"
                yield case.says("I4", f"session {after.number} began at {after.opened_at}, the one before {until}")
        for seq, sessions in case.sessions.items():
            if len(sessions) > 1 and not terms.stood_still(case.begun_before(seq), sessions[-1].opened_at):
                numbers = ", ".join(str(session.number) for session in sessions)
                yield case.says("I4", f"the sessions {numbers} are all of seq {seq}: it was run more than once")
        yield from _outside_of_rows(case, terms)


def one_row_after_another(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1, I4: a later seq was begun after the earlier was over: the order of seq is the order of reading."""
    for case in evidence.cases:
        begun = [row for row in case.rows if row.started_at]
        for before, after in pairwise(begun):
            over = before.over_at
            if after.started_at and (over is None or after.started_at < over):
                what = f"seq {after.seq} was begun at {after.started_at}"
                yield case.says("I4", f"{what}, before seq {before.seq} was over ({over})")


def pinned_first(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I6: a key was pinned before each login, and is one that the router still had."""
    for case in evidence.cases:
        pins = [(key, *_trusted(case, key)) for key in case.host_keys]
        for key in case.host_keys:
            if key.last_verified_at and key.last_verified_at < key.first_seen_at:
                yield case.says("I6", f"{key.fingerprint} was verified before it was seen first")
        for session in case.router.sessions:
            gone = _gone(case, terms, session.opened_at)
            for offer in session.offers:
                trusted = {key.fingerprint for key, since, until in pins if since <= offer.at <= until}
                if not trusted:
                    yield case.says("I6", f"a login was offered at {offer.at}, when no key was pinned")
                elif trusted <= gone:
                    yield case.says("I6", f"a login was offered at {offer.at} to a router that had another key")


def blocked_until_an_act(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I7: one attempt, then none, until an operator acted."""
    many = _refused_by_many(evidence)
    for case in evidence.cases:
        acts = [act.at for act in case.acts if act.action in UNBLOCKS]
        blocks = [row for row in case.rows if row.ended_at and _blocks(row) and not _other_was_next(case, row)]
        for row in blocks:
            yield from _contacts_after(case, row, sorted(acts + _lifted(row, many)), terms)
        newest = max(blocks, key=lambda row: row.seq, default=None)
        last = newest.ended_at if newest else None
        stands = last is not None and not any(at >= last for at in acts + _lifted(newest, many))
        if stands and case.device.blocked_code is None and case.device.status != "removed":
            yield case.says("I7", f"it was blocked at {last}, is not by now, and nobody ended that")
        yield from _logins_of_scans(case)
        for session in case.router.sessions:
            passwords = [offer for offer in session.offers if offer.method != "publickey"]
            if len(passwords) > 1:
                yield case.says("I7", f"{len(passwords)} passwords were offered in session {session.number}")


def _refused_by_many(evidence: Evidence) -> dict[UUID, list[datetime]]:
    """For each login the moments at which so many devices had refused it of late that no device is to blame."""
    refusals = sorted(
        (row.ended_at, row.login_id, row.device_id)
        for case in evidence.cases
        for row in case.rows
        if row.code == "authentication_failed" and row.ended_at and row.login_id
    )
    found: dict[UUID, list[datetime]] = defaultdict(list)
    for at, login, _ in refusals:
        late = {device for when, of, device in refusals if of == login and at - WINDOW <= when <= at}
        if len(late) >= MANY:
            found[login].append(at)
    return found


def _lifted(row: Row | None, many: Mapping[UUID, list[datetime]]) -> list[datetime]:
    """When a block was ended since others refused the same login too."""
    if row is None or row.login_id is None or row.ended_at is None or row.code != "authentication_failed":
        return []
    return [at for at in many.get(row.login_id, []) if row.ended_at <= at <= row.ended_at + WINDOW]


def _blocks(row: Row) -> bool:
    """A test blocks for what would block a collection; a serial number it only tells."""
    return row.state == "blocked" or (row.trigger == "test" and row.state == "tested" and row.code in BLOCKED_BY_TESTS)


def _other_was_next(case: Case, row: Row) -> bool:
    """A test was refused one of two logins that are rotated: it blocks only if the same one was sent next."""
    if row.code != REFUSED or row.state != "tested":
        return False
    later = [one for one in case.rows if one.seq > row.seq and one.login_on is not None]
    then = later[0].login_on if later else case.device.login_on
    return then is not None and then != row.login_on


def _logins_of_scans(case: Case) -> Iterator[str]:
    for session in case.router.sessions:
        row = case.row_of(session)
        if row is not None and row.trigger == "scan" and session.offers:
            yield case.says("I7", f"a login was offered in session {session.number}, of a scan (seq {row.seq})")


def _contacts_after(case: Case, row: Row, ends: list[datetime], terms: Terms) -> Iterator[str]:
    if row.ended_at is None:
        return
    until = min((at for at in ends if at >= row.ended_at), default=row.ended_at + ALWAYS)
    for session in case.router.sessions:
        of = case.row_of(session)
        if of is not None and of.trigger == "scan":  # a look, which sends nothing that anybody could be blocked for
            continue
        if of is not None and of.trigger == "forced" and row.code in FORCED_PAST and _forced_before(case, of):
            continue
        if row.ended_at + terms.slack < session.opened_at < until:
            blocked = f"it was blocked at {row.ended_at} ({row.code})"
            yield case.says("I7", f"{blocked}, and session {session.number} was opened at {session.opened_at}")


def _forced_before(case: Case, row: Row) -> bool:
    """Whether a person had said so when it was claimed."""
    return any(act.action == "config_backup_forced" and act.at <= row.claimed_at for act in case.acts)


def _outside_of_rows(case: Case, terms: Terms) -> Iterator[str]:
    for session in case.router.sessions:
        row = case.row_of(session)
        if row is None or row.started_at is None:
            yield case.says("I4", f"session {session.number} of {session.opened_at} belongs to no collection")
            continue
        late = row.over_at is not None and session.opened_at > row.over_at + terms.slack
        if late and not terms.stood_still(row.started_at, session.opened_at):
            what = f"session {session.number} was opened at {session.opened_at}"
            yield case.says("I4", f"{what}, when the last collection (seq {row.seq}) was over")


def _trusted(case: Case, key: HostKey) -> tuple[datetime, datetime]:
    """From when until when a key was the pinned one, as the acts say."""
    words = ("accepted", "approved")
    accepted = [act.at for act in case.acts if key.fingerprint in {act.detail.get(word) for word in words}]
    since = min((at for at in accepted if at >= key.first_seen_at), default=key.first_seen_at)
    forever = key.first_seen_at + ALWAYS
    if key.status == "pinned":
        return since, forever
    if key.status == "offered":
        return forever, since  # never
    retired = [
        act.at for act in case.acts if act.at > since and (act.action in RETIRES or act.detail.get("new_router"))
    ]
    return since, min(retired, default=since)


def _gone(case: Case, terms: Terms, when: datetime) -> set[str]:
    """The keys that the router has no longer at that time."""
    shown = [terms.fingerprints.get(case.device.name, "")]
    shown += [fingerprint for at, fingerprint in case.router.keys if at <= when]
    return set(shown[:-1]) - {shown[-1]}
