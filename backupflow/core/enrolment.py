"""What each act on a device changes: (the record as it stands, what is wanted) -> Update; None: nothing to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupflow.core import rotation
from backupflow.core.inventory import (
    DIRECT,
    NOWHERE,
    DeviceLogin,
    DeviceRecord,
    Following,
    Placement,
    Update,
    checked_host,
    checked_name,
    checked_port,
)
from backupflow.core.maintenance import with_windows
from backupflow.core.model import EndMark, LoginOn
from backupflow.core.named_keys import expected_instead
from backupflow.core.outages import DEVICE_DOWN
from backupflow.core.scope import SETTINGS, checked_for, merged_settings
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    Conflict,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    IdentityChanged,
    InputInvalid,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.model import Login

LONGEST_REASON = 200
_OTHER_KEY = "`hostkey accept` when it is on offer, `device replaced` for another router"
KEY_BLOCKS = (HostKeyMismatch.code, HostKeyUnapproved.code)
UNBLOCKED: Mapping[str, Any] = {"blocked_code": None, "blocked_detail": None, "blocked_at": None, "failures": 0}
# An operator's word was for the router as it was known then: its address, its key.
NO_WORD: Mapping[str, Any] = {"believe_seq": 0}
# Which of two logins it was on and what it had refused says nothing of another login, nor of another router.
NOT_ASKED: Mapping[str, Any] = {
    "login_on": LoginOn.CURRENT,
    "refused_on": None,
    "login_since": None,
    "refused_at": None,
}
# How often a router was met says nothing of the firewall of another one.
NOT_MET: Mapping[str, Any] = {"met_at": None, "hold_until": None, "wary_until": None}
# Alarms of a router that is not blocked: they end with it.
_OF_ITS_EXPORTS = (ExportSuspect.code, "secrets_hidden", DEVICE_DOWN)


@dataclass(frozen=True, slots=True)
class Edit:
    """What of a device is to be another; None stays. `new_router`: another router answers there now.

    `unset` names settings that are to come from its scopes again; `forget_login`: so is its login, as with a profile.
    """

    name: str | None = None
    host: str | None = None
    port: int | None = None
    username: str | None = None
    login: Login | None = None
    settings: Mapping[str, Any] | None = None
    new_router: bool = False
    placement: Placement = NOWHERE
    unset: tuple[str, ...] = ()
    fingerprint: str | None = None  # of the only key that may be pinned at first sight
    forget_login: bool = False


def edited(record: DeviceRecord, wanted: Edit, login: DeviceLogin | None) -> Update | None:
    """What an edit changes, and which blocks it ends."""
    _no_two_logins(wanted, login)
    asked: dict[str, Any] = {
        "name": wanted.name and checked_name(wanted.name),
        "host": wanted.host and checked_host(wanted.host),
        "port": wanted.port and checked_port(wanted.port),
        "settings": merged(record.settings, wanted.settings, wanted.unset),
    }
    columns = {n: value for n, value in asked.items() if value is not None and value != getattr(record, n)}
    if login and not login.sealed and not record.has_own_login:
        raise InputInvalid("this device has no login of its own: give a password or a key with the name")
    if _allows_sha1(wanted) and (record.modern_ssh_at is not None or record.blocked_code == SshDowngraded.code):
        columns["modern_ssh_at"] = None
    expects = expected_instead(record, wanted.fingerprint, another=wanted.new_router, remedy=_OTHER_KEY)
    placement = _placed_anew(record, wanted.placement)
    drops = record.has_own_login and (wanted.forget_login or bool(wanted.placement.profile))
    ended = _blocks_ended(wanted, columns) | (set(KEY_BLOCKS) if expects else set())
    if not any((columns, login, wanted.new_router, expects is not None, placement.named, drops)):
        return None
    columns |= with_windows(record.settings, columns.get("settings"), record.own_maintenance_until, record.now)
    others = {"login": login or drops, "host_key": expects, **placement.named}
    detail = {
        "changed": sorted(set(columns) - {"next_due_at", "maintenance_until"})
        + sorted(name for name, what in others.items() if what),
        "new_router": wanted.new_router,
    }
    detail |= {"placement": placement.named} if placement.named else {}
    detail |= {"expected": wanted.fingerprint} if expects else {}
    retires = keys_in_use(record) if wanted.new_router else ()
    if wanted.new_router:
        columns |= _another_router(record)
    if record.blocked_code in ended:
        columns |= UNBLOCKED
    if {"host", "port"} & set(columns):
        columns |= {**NO_WORD, **NOT_MET}
    if ended or {"host", "port"} & set(columns):
        columns |= {"failures": 0} | due_now(record)
        ended.add(DEVICE_DOWN)
    return Update(
        "device_edited", detail, columns, login, drops, retires, clears=tuple(sorted(ended)), placement=placement,
        expects=expects, if_moved=_moved(record), if_other_login=_other_login(record),
        if_login_differs=Following(NOT_ASKED),
    )  # fmt: skip


def removed(record: DeviceRecord) -> Update:
    """Removed for good; a claim of it is withdrawn by beat."""
    columns = {"status": "removed", "removed_at": record.now, "next_due_at": None}
    clears = (*((record.blocked_code,) if record.blocked_code else ()), *_OF_ITS_EXPORTS)
    return Update("device_removed", {"name": record.name}, columns, drops_login=True, clears=clears)


def restored(record: DeviceRecord, login: DeviceLogin | None) -> Update:
    """Collected again, at once, with its history and its pinned key; its own login went when it was removed."""
    columns = {"name": record.name, "status": "active", "removed_at": None, "paused_reason": None}
    removed_at = record.removed_at and record.removed_at.isoformat()
    detail = {"name": record.name, "removed_at": removed_at, "login": login is not None}
    return Update("device_restored", detail, {**columns, **UNBLOCKED, "next_due_at": record.now}, login)


def paused(record: DeviceRecord, reason: str | None = None) -> Update | None:
    """Paused: never due. `reason` is kept with it, also where it is paused already."""
    if record.status == "paused" and reason in {None, record.paused_reason}:
        return None
    columns = {"status": "paused", "next_due_at": None, "paused_reason": reason}
    return Update("device_paused", {"reason": reason} if reason else {}, columns, clears=(DEVICE_DOWN,))


def checked_reason(reason: str) -> str:
    """Why something is done, in words that any terminal can bear; InputInvalid otherwise."""
    said = reason.strip()
    if not 1 <= len(said) <= LONGEST_REASON or not said.isprintable():
        raise InputInvalid(f"a reason has 1 to {LONGEST_REASON} characters, none of them a control character")
    return said


def resumed(record: DeviceRecord) -> Update | None:
    """Active again; due at once if a run was missed meanwhile."""
    if record.status == "active":
        return None
    due = record.timetable.next_run(record.device_id, record.anchor_at, record.now)
    if record.timetable.missed(record.device_id, record.last_collected_at, record.now):
        due = record.now
    return Update("device_resumed", {}, {"status": "active", "next_due_at": due, "paused_reason": None})


def unblocked(record: DeviceRecord) -> Update | None:
    """No block, no failures, due at once; the pin stays, so a wrong host key blocks it again.

    So does another router behind the same key, until `router_replaced` says that it may be there.
    """
    if record.blocked_code is None:
        return None
    columns = {**UNBLOCKED, **due_now(record)}
    if record.blocked_code == AuthenticationFailed.code:  # while its login is rotated both are sent once more
        columns |= {**NOT_ASKED, "login_on": rotation.begun_anew(record.standing).login_on}
    return Update("device_unblocked", {"was": record.blocked_code}, columns, clears=(record.blocked_code,))


def export_believed(record: DeviceRecord) -> Update | None:
    """The next export is believed however it looks, but for another serial number; it is collected at once.

    Conflict if nothing was kept aside as suspect since the last one that was believed: nobody could have looked at it;
    or if it is blocked: what ends the block may as well say that another router is there.
    """
    if record.blocked_code is not None:
        raise Conflict(f"{record.name} is blocked: {record.blocked_code}; end that first, see `device show`")
    if record.believes:
        return None
    if not record.in_doubt:
        raise Conflict(
            f"no export of {record.name} is in doubt: nothing is suspect since the last one that was believed; "
            "another serial number is answered with `device replaced`, and a block with `device unblock`"
        )
    columns = {"believe_seq": record.last_seq, **due_now(record)}
    return Update("export_believed", {"after_seq": record.last_seq}, columns, clears=(ExportSuspect.code,))


def router_replaced(record: DeviceRecord) -> Update:
    """All that was known of the router itself is forgotten; the history stays.

    What was read until now is not compared with what the new router says, and what was kept aside is never promoted.
    """
    pinned = record.pinned
    detail = {
        "retired": pinned.key.fingerprint if pinned else None,
        "was_blocked": record.blocked_code,
        "after_seq": record.last_seq,
    }
    columns = {**UNBLOCKED, **due_now(record), **_another_router(record)}
    clears = (*((record.blocked_code,) if record.blocked_code else ()), *_OF_ITS_EXPORTS)
    return Update("device_replaced", detail, columns, retires=keys_in_use(record), clears=clears, expects=())


def merged(
    there: Mapping[str, Any], wanted: Mapping[str, Any] | None, unset: Sequence[str] = (), kind: str = "device"
) -> dict[str, Any] | None:
    """The settings of a scope after an edit; None: nothing was said of them. InputInvalid names the first wrong one."""
    if wanted is None and not unset:
        return None
    if stray := sorted(set(unset) - set(SETTINGS)):
        raise InputInvalid(f"no setting is called {stray[0]!r}")
    left = {name: value for name, value in there.items() if name not in unset}
    return merged_settings(left, checked_for(kind, wanted or {}))


def _no_two_logins(wanted: Edit, login: DeviceLogin | None) -> None:
    if login and (wanted.placement.profile or wanted.forget_login):
        raise InputInvalid("a login of its own and that of a profile: only one of them is used; name one")


def _placed_anew(record: DeviceRecord, wanted: Placement) -> Placement:
    """What of it is not so yet."""
    now = {"profile": record.profile, "group": record.group, "site": record.site}
    now["jump"] = DIRECT if record.direct else record.jump
    return Placement(**{name: value for name, value in wanted.named.items() if value != (now[name] or "")})


def _moved(record: DeviceRecord) -> Following:
    """Another way leads to another place, as another address does; the pin stays."""
    return Following({"failures": 0, **NO_WORD, **NOT_MET, **due_now(record)}, (DEVICE_DOWN,))


def _other_login(record: DeviceRecord) -> Following:
    refused = record.blocked_code == AuthenticationFailed.code
    return Following({"failures": 0, **(UNBLOCKED if refused else {}), **due_now(record)}, (AuthenticationFailed.code,))


def _allows_sha1(wanted: Edit) -> bool:
    """Whether an operator asks for it in this act, also where the setting stands already."""
    return (wanted.settings or {}).get("legacy_ssh") is True


def _another_router(record: DeviceRecord) -> dict[str, Any]:
    """Nothing that was learnt of the one before is true of the next."""
    return {
        "router_since_seq": record.last_seq,
        "remembered_command": None,
        "end_mark": EndMark.UNTRIED,
        "modern_ssh_at": None,
        **NO_WORD,
        **NOT_ASKED,
        **NOT_MET,
    }


def _blocks_ended(wanted: Edit, columns: Mapping[str, Any]) -> set[str]:
    """The codes whose cause this edit takes away."""
    settings = wanted.settings or {}
    ended = set()
    if wanted.login or wanted.username:
        ended.add(AuthenticationFailed.code)
    if settings.get("legacy_ssh") and "settings" in columns:
        ended.add(AlgorithmsIncompatible.code)
    if "modern_ssh_at" in columns:
        ended.add(SshDowngraded.code)
    if settings.get("trust") == "tofu" and "settings" in columns:
        ended.add(HostKeyUnapproved.code)
    if wanted.new_router:
        ended.update((*KEY_BLOCKS, SshDowngraded.code, IdentityChanged.code, *_OF_ITS_EXPORTS))
    return ended


def due_now(record: DeviceRecord) -> dict[str, Any]:
    """At once, unless it is paused."""
    return {"next_due_at": record.now} if record.status == "active" else {}


def keys_in_use(record: DeviceRecord) -> tuple[int, ...]:
    """The numbers of the pinned key and of what is on offer."""
    return tuple(key.number for key in record.keys if key.status != "retired")
