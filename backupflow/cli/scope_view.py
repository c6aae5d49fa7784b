"""What stands above devices, as a person or a program is shown it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from backupflow.cli import hop_view, output, timetable_view
from backupflow.cli.device_settings import shown_name, shown_value
from backupflow.core.inventory import DIRECT
from backupflow.core.keys import KEYS_LOST
from backupflow.core.next_step import next_step, step_for_many
from backupflow.core.refusals import LOGIN_REFUSED
from backupflow.core.rotation import told
from backupflow.core.scopes import HopRecord, ProfileRecord, Record, ScopeKind, ScopeRecord
from backupflow.errors import AuthenticationFailed, LoginSuspended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from backupflow.core.rescheduling import Rescheduled
    from backupflow.core.rotation import Rotation


_SHOWN = 10  # names of devices


def say_done(
    done: str, record: Record, *, changed: bool, as_json: bool, more: str = "", rescheduled: Rescheduled | None = None
) -> None:
    """What an act did, in one line or one document; `rescheduled`: devices that run at other times now."""
    if as_json:
        told = {"changed": changed, _noun(record): document(record)}
        output.as_document(told | timetable_view.document(rescheduled))
    elif not changed:
        output.say(f"{record.name}: nothing to do")
    else:
        more += timetable_view.pressure(rescheduled)
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
            shown |= {"maintenance_until": _maintenance(record)}
            return shown | {"profile": record.profile, "jump_host": way, "devices": record.devices}
        case ProfileRecord():
            return shown | {
                "username": record.username,
                "method": record.method,
                "suspended_at": record.suspended_at,
                "suspended_reason": record.suspended_reason,
                "trial_at": record.trial_at,
                "trials": record.trials,
                "waiting": record.waiting,
                "changed_at": record.changed_at,
                "devices": record.devices,
                "devices_by": dict(record.uses),
                "refused": record.refused,
                "rotation": _rotation_document(record.rotation),
                "named_by": list(record.named_by),
            }
        case HopRecord():
            return shown | hop_view.document(record)


def settings_in_words(settings: Mapping[str, Any]) -> str | None:
    """`interval 1 h, concurrency 3`; None if there are none."""
    return (
        ", ".join(f"{shown_name(name)} {shown_value(name, value)}" for name, value in sorted(settings.items())) or None
    )


def _columns(record: Record) -> tuple[str, ...]:
    match record:
        case ScopeRecord():
            return ("devices", "profile", "jump host", "settings")
        case ProfileRecord():
            return ("login", "by", "devices", "trust", "state")
        case HopRecord():
            return hop_view.COLUMNS


def _rows(record: Record) -> list[tuple[str, output.Cell]]:
    match record:
        case ScopeRecord():
            return _of_scope(record)
        case ProfileRecord():
            return _of_profile(record)
        case HopRecord():
            return hop_view.rows(record) + _settings(record.settings)


def _row(record: Record) -> tuple[output.Cell, ...]:
    match record:
        case ScopeRecord():
            way = DIRECT if record.direct else record.jump
            return (record.devices, record.profile, way, settings_in_words(record.settings))
        case ProfileRecord():
            state = f"{_state(record)}; {record.refused} refused" if record.refused else _state(record)
            state = f"{state}; rotated: {told(record.rotation.tally)}" if record.rotation else state
            return (record.username, record.method, record.devices, record.settings.get("trust"), state)
        case HopRecord():
            return hop_view.row(record)


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
        ("in maintenance", (until := _maintenance(record)) and f"until {output.in_words(until)}"),
        *_settings(record.settings),
        ("id", str(record.scope_id)),
    ]


def _of_profile(record: ProfileRecord) -> list[tuple[str, output.Cell]]:
    how = ", ".join(f"{n} by {'themselves' if by == 'device' else by}" for by, n in sorted(record.uses.items()))
    return [
        ("login", f"{record.username} ({record.method})"),
        ("state", _state(record)),
        ("suspended", record.suspended_at),
        ("tried again", _trial(record)),
        ("devices", f"{record.devices}: {how}" if how else 0),
        *_of_rotation(record),
        ("refused", f"{_are(record.refused)} blocked since it was refused" if record.refused else None),
        ("what next", _next(record)),
        ("named by", ", ".join(record.named_by) or None),
        *_settings(record.settings),
        ("changed", record.changed_at),
        ("id", str(record.profile_id)),
    ]


def _state(record: ProfileRecord) -> str:
    if record.suspended_at is None:
        return "ok"
    waiting = f"; {_wait(record.waiting)}" if record.waiting else ""
    return f"suspended: {record.suspended_reason}{waiting}"


def _wait(count: int) -> str:
    return f"{output.counted(count, 'device')} {'waits' if count == 1 else 'wait'}"


def _trial(record: ProfileRecord) -> str | None:
    """When one device tries a login again that many refused."""
    if record.trial_at is None:
        return None
    so_far = f", after {output.counted(record.trials, 'trial')} in vain" if record.trials else ""
    return f"by one device at {output.in_words(record.trial_at)}{so_far}"


def _of_rotation(record: ProfileRecord) -> list[tuple[str, output.Cell]]:
    if record.rotation is None:
        return []
    name, tally = shlex.quote(record.name), record.rotation.tally
    names = record.rotation.others
    others, count = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    return [
        ("next login", f"{record.rotation.username} ({record.rotation.method})"),
        ("rotated", record.rotation.begun_at),
        ("how far", told(tally)),
        ("not on new", f"{others}{f' and {count:,} more (--json names all)' if count > 0 else ''}" if others else None),
        ("ends with", f"`credential rotate {name} --finish`, `--cancel` gives it up"),
    ]


def _rotation_document(rotation: Rotation | None) -> dict[str, Any] | None:
    if rotation is None:
        return None
    tally = rotation.tally
    return {
        "username": rotation.username,
        "method": rotation.method,
        "begun_at": rotation.begun_at,
        "on_new": tally.new,
        "on_old": tally.old,
        "not_seen": tally.unseen,
        "refused_one": tally.waiting,
        "refused_both": tally.neither,
        "not_on_new": list(rotation.others),
    }


def _are(count: int) -> str:
    return f"{output.counted(count, 'device')} {'is' if count == 1 else 'are'}"


def _next(record: ProfileRecord) -> str | None:
    """What a person can do about it, as commands."""
    code = LoginSuspended.code if record.suspended_at else AuthenticationFailed.code if record.refused else None
    if record.suspended_reason == KEYS_LOST:
        code = KEYS_LOST
    if record.trial_at is not None:
        code = LOGIN_REFUSED
    if code == AuthenticationFailed.code:
        return step_for_many(code, record.name, by_key=record.method == "key", taken=record.taken)
    return next_step(code, "", record.name, by_key=record.method == "key")


def _maintenance(record: ScopeRecord) -> datetime | None:
    """Till when, if it is."""
    until = record.maintenance_until
    return until if until is not None and until > record.now else None


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    return [(shown_name(name), shown_value(name, value)) for name, value in sorted(settings.items())]


def _noun(record: Record) -> str:
    match record:
        case ScopeRecord():
            return record.kind.value
        case ProfileRecord():
            return ScopeKind.PROFILE.value
        case HopRecord():
            return ScopeKind.JUMP_HOST.value
