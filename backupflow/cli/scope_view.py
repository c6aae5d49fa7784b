"""What stands above devices, as a person or a program is shown it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.device_settings import shown_name, shown_value
from backupflow.core.inventory import DIRECT
from backupflow.core.scopes import HopRecord, ProfileRecord, Record, ScopeKind, ScopeRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def say_done(done: str, record: Record, *, changed: bool, as_json: bool, more: str = "") -> None:
    """What an act did, in one line or one document."""
    if as_json:
        output.as_document({"changed": changed, _noun(record): document(record)})
    elif not changed:
        output.say(f"{record.name}: nothing to do")
    else:
        output.say(f"{_noun(record).replace('_', ' ')} {record.name} {done}{more}")


def show(record: Record, *, as_json: bool) -> None:
    """One of them."""
    if as_json:
        output.as_document(document(record))
        return
    shown = [(what, says) for what, says in _rows(record) if says is not None]
    output.show_table((_noun(record).replace("_", " "), record.name), shown)


def show_all(noun: str, records: Sequence[Record], *, as_json: bool) -> None:
    """A line for each."""
    if as_json:
        output.as_document({f"{noun.replace(' ', '_')}s": [document(record) for record in records]})
        return
    if not records:
        output.say(f"no {noun} yet")
        return
    output.show_table((noun, *_columns(records[0])), [(record.name, *_row(record)) for record in records])


def document(record: Record) -> dict[str, Any]:
    """Any of them as JSON."""
    shown: dict[str, Any] = {"id": record.scope_id, "name": record.name, "settings": dict(record.settings)}
    match record:
        case ScopeRecord():
            way = DIRECT if record.direct else record.jump
            return shown | {"profile": record.profile, "jump_host": way, "devices": record.devices}
        case ProfileRecord():
            return shown | {
                "username": record.username,
                "method": record.method,
                "suspended_at": record.suspended_at,
                "suspended_reason": record.suspended_reason,
                "changed_at": record.changed_at,
                "devices": record.devices,
                "devices_by": dict(record.uses),
                "refused": record.refused,
                "named_by": list(record.named_by),
            }
        case HopRecord():
            return shown | _hop_document(record)


def settings_in_words(settings: Mapping[str, Any]) -> str | None:
    """`interval 1 h, concurrency 3`; None if there are none."""
    return (
        ", ".join(f"{shown_name(name)} {shown_value(name, value)}" for name, value in sorted(settings.items())) or None
    )


def standing(record: HopRecord) -> str:
    """Whether it can be passed, in a few words."""
    if record.blocked_code:
        return f"blocked: {record.blocked_code}"
    if record.down_since:
        return f"down for {output.span(record.now - record.down_since)}"
    return "up" if record.reached_at else "untried"


def _columns(record: Record) -> tuple[str, ...]:
    match record:
        case ScopeRecord():
            return ("devices", "profile", "jump host", "settings")
        case ProfileRecord():
            return ("login", "by", "devices", "trust", "state")
        case HopRecord():
            return ("address", "state", "behind", "waiting", "profile")


def _rows(record: Record) -> list[tuple[str, output.Cell]]:
    match record:
        case ScopeRecord():
            return _of_scope(record)
        case ProfileRecord():
            return _of_profile(record)
        case HopRecord():
            return _of_hop(record)


def _row(record: Record) -> tuple[output.Cell, ...]:
    match record:
        case ScopeRecord():
            way = DIRECT if record.direct else record.jump
            return (record.devices, record.profile, way, settings_in_words(record.settings))
        case ProfileRecord():
            state = f"suspended: {record.suspended_reason}" if record.suspended_at else "ok"
            state = f"{state}; {record.refused} refused" if record.refused else state
            return (record.username, record.method, record.devices, record.settings.get("trust"), state)
        case HopRecord():
            return (_address(record), standing(record), record.behind, record.waiting, record.profile)


def _of_scope(record: ScopeRecord) -> list[tuple[str, output.Cell]]:
    members = (
        "device list"
        if record.kind is ScopeKind.TENANT
        else f"device list --{record.kind.value} {shlex.quote(record.name)}"
    )
    return [
        ("devices", f"{record.devices} (`{members}`)" if record.devices else 0),
        ("profile", record.profile),
        ("jump host", DIRECT if record.direct else record.jump),
        *_settings(record.settings),
        ("id", str(record.scope_id)),
    ]


def _of_profile(record: ProfileRecord) -> list[tuple[str, output.Cell]]:
    how = ", ".join(f"{n} by {'themselves' if by == 'device' else by}" for by, n in sorted(record.uses.items()))
    return [
        ("login", f"{record.username} ({record.method})"),
        ("state", f"suspended: {record.suspended_reason}" if record.suspended_at else "ok"),
        ("suspended", record.suspended_at),
        ("devices", f"{record.devices}: {how}" if how else 0),
        ("refused", f"{record.refused} devices are blocked since it was refused" if record.refused else None),
        ("named by", ", ".join(record.named_by) or None),
        *_settings(record.settings),
        ("changed", record.changed_at),
        ("id", str(record.profile_id)),
    ]


def _of_hop(record: HopRecord) -> list[tuple[str, output.Cell]]:
    again = record.retry_at and f"in {output.span(max(record.retry_at - record.now, record.now - record.now))}"
    pinned = record.pinned
    offered = [("offered", f"{seen.key.key_type} {seen.key.fingerprint}") for seen in record.offered]
    return [
        ("address", f"{record.host} port {record.port}"),
        ("profile", record.profile),
        ("state", standing(record)),
        ("why", output.told(record.blocked_detail, output.LONGEST_DETAIL)),
        ("what next", _next(record)),
        ("tried again", again),
        ("last passed", record.reached_at),
        ("devices behind", record.behind),
        ("waiting for it", record.waiting if record.in_trouble else None),
        ("host key", f"{pinned.key.key_type} {pinned.key.fingerprint}" if pinned else "none yet"),
        *offered,
        ("expected", ", ".join(key.fingerprint for key in record.expected) or None),
        ("named by", ", ".join(record.named_by) or None),
        *_settings(record.settings),
        ("id", str(record.jump_host_id)),
    ]


def _next(record: HopRecord) -> str | None:
    """What a person can do about it, as commands."""
    name, profile = shlex.quote(record.name), shlex.quote(record.profile or "")
    match record.blocked_code:
        case None:
            return f"`jump unblock {name}` tries it at once" if record.down_since else None
        case "host_key_mismatch" | "host_key_unapproved":
            return f"compare the key with the host's own, then `jump accept-key {name}`"
        case "authentication_failed":
            return f"`credential edit {profile}` with the right one, or mend it there and `jump unblock {name}`"
        case _:
            return f"mend it there, then `jump unblock {name}`"


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    return [(shown_name(name), shown_value(name, value)) for name, value in sorted(settings.items())]


def _address(record: HopRecord) -> str:
    return f"[{record.host}]:{record.port}" if ":" in record.host else f"{record.host}:{record.port}"


def _hop_document(record: HopRecord) -> dict[str, Any]:
    pinned = record.pinned
    return {
        "host": record.host,
        "port": record.port,
        "profile": record.profile,
        "state": "blocked" if record.blocked_code else "down" if record.down_since else "up",
        "failures": record.failures,
        "down_since": record.down_since,
        "retry_at": record.retry_at,
        "blocked_code": record.blocked_code,
        "blocked_detail": record.blocked_detail,
        "blocked_at": record.blocked_at,
        "reached_at": record.reached_at,
        "fingerprint": pinned.key.fingerprint if pinned else None,
        "offered_fingerprints": [seen.key.fingerprint for seen in record.offered],
        "expected_fingerprints": [key.fingerprint for key in record.expected],
        "devices_behind": record.behind,
        "devices_waiting": record.waiting,
        "named_by": list(record.named_by),
    }


def _noun(record: Record) -> str:
    match record:
        case ScopeRecord():
            return record.kind.value
        case ProfileRecord():
            return ScopeKind.PROFILE.value
        case HopRecord():
            return ScopeKind.JUMP_HOST.value
