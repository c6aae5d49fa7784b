"""What each act on a scope changes: (the record as it stands, what is wanted) -> ScopeUpdate; None: nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.core.enrolment import merged
from backupflow.core.inventory import DIRECT, checked_host, checked_port
from backupflow.core.keys import KEYS_LOST
from backupflow.core.maintenance import with_windows
from backupflow.core.model import TrustedHow
from backupflow.core.named_keys import expected_instead, on_offer
from backupflow.core.rotation_acts import refuse_lost_keys, refuse_rotating
from backupflow.core.scopes import (
    LONGEST_REASON,
    Changes,
    HopRecord,
    ProfileRecord,
    ScopeKind,
    ScopeRecord,
    ScopeUpdate,
    checked_scope_name,
)
from backupflow.errors import (
    AlgorithmsIncompatible,
    Conflict,
    HostKeyMismatch,
    HostKeyUnapproved,
    InputInvalid,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.inventory import DeviceLogin

_OTHER_KEY = "`jump accept-key` when it is on offer, `jump edit --new-host` for another machine"
_KEY_BLOCKS = (HostKeyMismatch.code, HostKeyUnapproved.code)
_SHA1_BLOCKS = (AlgorithmsIncompatible.code, SshDowngraded.code)


# --- groups, sites, tenants ----------------------------------------------------------------------------------------


def scope_edited(record: ScopeRecord, wanted: Changes) -> ScopeUpdate | None:
    """What an edit of a group, a site or a tenant changes for all that belongs to it."""
    checked_jump(record.kind, wanted.jump)
    columns = _columns(record, record.kind, wanted)
    columns |= with_windows(record.settings, columns.get("settings"), record.maintenance_until, record.now)
    profile = _other(wanted.profile, record.profile)
    jump = _other(wanted.jump, DIRECT if record.direct else record.jump)
    if not columns and profile is None and jump is None:
        return None
    detail = {record.kind.value: record.name, "changed": _changed(columns, profile=profile, jump=jump)}
    return ScopeUpdate(f"{record.kind}_edited", detail, columns, profile, jump)


def scope_removed(record: ScopeRecord) -> ScopeUpdate:
    """A group or a site goes; Conflict while any device belongs to it."""
    if record.devices:
        raise Conflict(
            f"{record.devices} device{'s belong' if record.devices > 1 else ' belongs'} to {record.kind.word} "
            f"{record.name}: place it elsewhere first, see `device list --{record.kind}`"
        )
    return ScopeUpdate(f"{record.kind}_removed", {record.kind.value: record.name}, removes=True)


def checked_jump(kind: ScopeKind, jump: str | None) -> str | None:
    """What a scope may say of the way to its devices; InputInvalid otherwise."""
    if jump == DIRECT and kind is not ScopeKind.GROUP:
        raise InputInvalid(f"a {kind.word} cannot say {DIRECT}: only a group and a device may differ from their scopes")
    return jump


# --- credential profiles -------------------------------------------------------------------------------------------


def profile_edited(
    record: ProfileRecord, wanted: Changes, login: DeviceLogin | None, *, tried: bool = True
) -> ScopeUpdate | None:
    """Another login ends what was blocked since the old one was refused; only another secret brings a lost one back.

    One that is not `tried` at once ends neither a block nor a suspension by a person.
    """
    columns = _columns(record, ScopeKind.PROFILE, wanted)
    other_name = login is not None and login.sealed is None and login.username == record.username
    if other_name:
        login = None
    if not columns and login is None:
        return None
    if login is not None:
        refuse_rotating(record)
    detail = {"credential_profile": record.name, "changed": _changed(columns, login=login)}
    return ScopeUpdate(
        "credential_profile_edited", detail, columns, login=login, ends_refusals=tried and login is not None
    )


def profile_suspended(record: ProfileRecord, reason: str) -> ScopeUpdate | None:
    """No login is sent any more, wherever it is used: what was claimed is withdrawn.

    A person's word takes the place of a suspension that would end by itself.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON or not reason.isprintable() or reason == KEYS_LOST:
        raise InputInvalid(f"a reason has 1 to {LONGEST_REASON} characters, none of them a control character")
    if record.suspended_at is not None and record.trial_at is None:
        return None
    detail = {"credential_profile": record.name, "reason": reason}
    return ScopeUpdate("credential_profile_suspended", detail, {"suspended_reason": reason})


def profile_resumed(record: ProfileRecord) -> ScopeUpdate | None:
    """It is used again; Conflict if its keys were lost, for then nobody can open it."""
    if record.suspended_at is None:
        return None
    refuse_lost_keys(record)
    detail = {"credential_profile": record.name, "was": record.suspended_reason}
    return ScopeUpdate("credential_profile_resumed", detail, {"suspended_reason": None})


def profile_removed(record: ProfileRecord) -> ScopeUpdate:
    """It goes; Conflict while anything names it."""
    _refuse_while_named(f"credential profile {record.name}", record.named_by)
    return ScopeUpdate("credential_profile_removed", {"credential_profile": record.name}, removes=True)


# --- jump hosts ----------------------------------------------------------------------------------------------------


def hop_edited(record: HopRecord, wanted: Changes) -> ScopeUpdate | None:
    """Another address, login or machine is tried anew, at once; the pin stays unless another machine answers there."""
    columns = _columns(record, ScopeKind.JUMP_HOST, wanted)
    profile = _other(wanted.profile, record.profile)
    if profile == "":
        raise InputInvalid("a jump host needs a credential profile: nobody is let through without a login")
    expects = expected_instead(record, wanted.fingerprint, another=wanted.new_host, remedy=_OTHER_KEY)
    if not columns and profile is None and expects is None and not wanted.new_host:
        return None
    detail = {
        "jump_host": record.name,
        "changed": _changed(columns, profile=profile, host_key=expects),
        "new_host": wanted.new_host,
    }
    anew = bool({"host", "port"} & set(columns)) or bool(profile or expects or wanted.new_host)
    return ScopeUpdate(
        "jump_host_edited", detail, columns, profile,
        retires=_standing(record) if wanted.new_host else (), expects=expects,
        ends_trouble=anew or _ends_block(record.blocked_code, columns.get("settings", {})),
    )  # fmt: skip


def hop_unblocked(record: HopRecord) -> ScopeUpdate | None:
    """Tried at once, whatever was met there; the pin stays."""
    if not record.in_trouble:
        return None
    detail = {"jump_host": record.name, "was": record.blocked_code or "down"}
    return ScopeUpdate("jump_host_unblocked", detail, ends_trouble=True)


def hop_key_accepted(record: HopRecord, fingerprint: str) -> ScopeUpdate:
    """The offered key becomes the pinned one; Conflict if that key is not the one on offer (any more)."""
    chosen, pinned = on_offer(record, fingerprint), record.pinned
    detail = {
        "jump_host": record.name,
        "accepted": fingerprint,
        "key_type": chosen.key.key_type,
        "retired": pinned.key.fingerprint if pinned else None,
    }
    return ScopeUpdate(
        "jump_host_key_accepted", detail,
        retires=tuple(number for number in _standing(record) if number != chosen.number), pins=chosen.number,
        how=TrustedHow.ACCEPTED if pinned or record.expected else TrustedHow.APPROVED,
        expects=() if record.expected else None, ends_trouble=_of_its_key(record),
    )  # fmt: skip


def hop_key_reset(record: HopRecord) -> ScopeUpdate | None:
    """No key is pinned, on offer or expected any more: the next one is a first sight again."""
    if not record.pinned and not record.offered and not record.expected:
        return None
    detail = {"jump_host": record.name, "retired": record.pinned.key.fingerprint if record.pinned else None}
    return ScopeUpdate(
        "jump_host_key_reset", detail, retires=_standing(record), expects=() if record.expected else None,
        ends_trouble=_of_its_key(record),
    )  # fmt: skip


def hop_removed(record: HopRecord) -> ScopeUpdate:
    """It goes, with its keys; Conflict while anything names it."""
    _refuse_while_named(f"jump host {record.name}", record.named_by)
    return ScopeUpdate("jump_host_removed", {"jump_host": record.name}, removes=True)


def _ends_block(code: str | None, settings: Mapping[str, Any]) -> bool:
    if code in _SHA1_BLOCKS:
        return settings.get("legacy_ssh") is True
    return code == HostKeyUnapproved.code and settings.get("trust") == "tofu"


def _of_its_key(record: HopRecord) -> bool:
    """A refused login is no question of its key."""
    return record.blocked_code is None or record.blocked_code in _KEY_BLOCKS


def _standing(record: HopRecord) -> tuple[int, ...]:
    return tuple(seen.number for seen in record.keys if seen.status != "retired")


# --- all of them ---------------------------------------------------------------------------------------------------


def _columns(record: ScopeRecord | ProfileRecord | HopRecord, kind: ScopeKind, wanted: Changes) -> dict[str, Any]:
    """What of its own columns becomes another."""
    asked: dict[str, Any] = {
        "name": wanted.name and checked_scope_name(kind, wanted.name),
        "host": wanted.host and checked_host(wanted.host),
        "port": wanted.port and checked_port(wanted.port),
        "settings": merged(record.settings, wanted.settings, wanted.unset, kind.setting_place),
    }
    return {name: value for name, value in asked.items() if value is not None and value != getattr(record, name)}


def _other(wanted: str | None, there: str | None) -> str | None:
    return None if wanted is None or wanted == (there or "") else wanted


def _changed(columns: Mapping[str, Any], **others: object) -> list[str]:
    return sorted([*columns, *(name for name, value in others.items() if value is not None)])


def _refuse_while_named(what: str, named_by: tuple[str, ...]) -> None:
    if named_by:
        raise Conflict(f"{what} is used by {', '.join(named_by[:5])}{' and more' if len(named_by) > 5 else ''}")  # noqa: PLR2004
