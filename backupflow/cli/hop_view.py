"""Jump hosts, as a person or a program is shown them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.standing_lines import to_do, without_name
from backupflow.core.jump import JUMP_HOST_DOWN
from backupflow.core.keys import KEYS_LOST
from backupflow.core.next_step import next_step
from backupflow.errors import LoginSuspended, LoginUnusable

if TYPE_CHECKING:
    from backupflow.core.scopes import HopRecord

COLUMNS = ("address", "state", "behind", "waiting", "profile")


def standing(record: HopRecord) -> str:
    """Whether it can be passed, in a few words; while its login waits nothing else is found out."""
    if record.login_suspended_at:
        return f"suspended: {record.login_suspended_reason}"
    if record.blocked_code:
        return f"blocked: {record.blocked_code}"
    if record.down_since:
        return f"down for {output.span(record.now - record.down_since)}"
    return "up" if record.reached_at else "untried"


def row(record: HopRecord) -> tuple[output.Cell, ...]:
    """One under COLUMNS; nothing waits for one that can be passed."""
    waiting = record.waiting if record.holds_up else 0
    return (_address(record), standing(record), record.behind, waiting, record.profile)


def rows(record: HopRecord) -> list[tuple[str, output.Cell]]:
    """All that is known of one, but for its settings."""
    pinned = record.pinned
    offered = [("offered", f"{seen.key.key_type} {seen.key.fingerprint}") for seen in record.offered]
    return [
        ("address", f"{record.host} port {record.port}"),
        ("profile", record.profile),
        ("state", standing(record)),
        ("why", _why(record)),
        ("what next", _next(record)),
        ("since", record.login_suspended_at or record.down_since),
        ("tried again", _again(record)),
        ("last passed", record.reached_at),
        ("devices behind", record.behind),
        ("waiting for it", record.waiting if record.holds_up else None),
        ("host key", f"{pinned.key.key_type} {pinned.key.fingerprint}" if pinned else "none yet"),
        *offered,
        ("expected", ", ".join(key.fingerprint for key in record.expected) or None),
        ("named by", ", ".join(record.named_by) or None),
        ("id", str(record.jump_host_id)),
    ]


def _why(record: HopRecord) -> str | None:
    """The code, and what was met there."""
    if record.login_suspended_at:
        words = f"its login {record.profile} is sent nowhere: {record.login_suspended_reason}"
        return output.told(words, output.LONGEST_DETAIL)
    if not record.blocked_code and not record.down_since:
        return None
    code = record.blocked_code or JUMP_HOST_DOWN
    words = without_name(record.name, (record.blocked_detail if record.blocked_code else record.alarm) or "")
    return output.told(f"{code}: {words}" if words else code, output.LONGEST_DETAIL)


def _again(record: HopRecord) -> str | None:
    if record.login_suspended_at or record.blocked_code or not record.in_trouble:
        return None
    if record.retry_at is None or record.retry_at <= record.now:
        return "by the next device behind it that is due"
    return f"in {output.span(record.retry_at - record.now)}"


def _next(record: HopRecord) -> str | None:
    """What a person can do about it, as commands."""
    name, profile = shlex.quote(record.name), shlex.quote(record.profile or "")
    if record.login_suspended_at:
        code = KEYS_LOST if record.login_suspended_reason == KEYS_LOST else LoginSuspended.code
        return to_do(next_step(code, record.name, record.profile, by_key=record.by_key), code)
    match record.blocked_code:
        case None:
            return f"mend the way to it; `jump unblock {name}` tries it at once" if record.down_since else None
        case "host_key_mismatch" if record.expected and not record.pinned:
            again = f"`jump edit {name} --fingerprint SHA256:…` if the expected one was mistyped"
            return f"compare the key with the host's own; {again}, else `jump accept-key {name}`"
        case "host_key_mismatch" | "host_key_unapproved":
            return f"compare the key with the host's own, then `jump accept-key {name}`"
        case "authentication_failed":
            right = f"`credential edit {profile} --ask-password` (or --key-file FILE) sets the right one"
            return f"{right}, or mend it there and `jump unblock {name}`"
        case LoginUnusable.code:
            return f"`credential edit {profile} --key-file FILE`"
        case _:
            return f"mend it there, then `jump unblock {name}`"


def _address(record: HopRecord) -> str:
    return f"[{record.host}]:{record.port}" if ":" in record.host else f"{record.host}:{record.port}"


def _state(record: HopRecord) -> str:
    """The same for programs, in one word."""
    if record.login_suspended_at:
        return "suspended"
    return "blocked" if record.blocked_code else "down" if record.down_since else "up"


def document(record: HopRecord) -> dict[str, Any]:
    """What a jump host has and no other scope, as JSON."""
    pinned = record.pinned
    return {
        "host": record.host,
        "port": record.port,
        "profile": record.profile,
        "state": _state(record),
        "failures": record.failures,
        "down_since": record.down_since,
        "retry_at": record.retry_at,
        "blocked_code": record.blocked_code,
        "blocked_detail": record.blocked_detail,
        "blocked_at": record.blocked_at,
        "trouble": _why(record),
        "reached_at": record.reached_at,
        "fingerprint": pinned.key.fingerprint if pinned else None,
        "offered_fingerprints": [seen.key.fingerprint for seen in record.offered],
        "expected_fingerprints": [key.fingerprint for key in record.expected],
        "devices_behind": record.behind,
        "devices_waiting": record.waiting if record.holds_up else 0,
        "login_suspended_at": record.login_suspended_at,
        "login_suspended_reason": record.login_suspended_reason,
        "named_by": list(record.named_by),
    }
