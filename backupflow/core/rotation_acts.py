"""What begins and ends the rotation of a shared login: (the record as it stands, what is wanted) -> ScopeUpdate."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.core import rotation
from backupflow.core.keys import KEYS_LOST
from backupflow.core.rotation import Act
from backupflow.core.scopes import ProfileRecord, ScopeUpdate
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from backupflow.core.inventory import DeviceLogin

_HOP = "jump host "  # as those that name a profile are told
_ENDED = {Act.FINISH: "credential_rotation_finished", Act.CANCEL: "credential_rotation_cancelled"}


def rotation_begun(record: ProfileRecord, login: DeviceLogin) -> ScopeUpdate:
    """From now on two are known, and each device is found out; Conflict if it cannot be rotated now."""
    refuse_beginning(record)
    detail = {"credential_profile": record.name, "username": login.username, "method": login.method}
    return ScopeUpdate("credential_rotation_begun", detail | {"devices": record.devices}, rotates_to=login)


def refuse_beginning(record: ProfileRecord) -> None:
    """Conflict if it cannot be rotated, whatever the next login is: nobody needs to type that for it."""
    refuse_rotating(record)
    refuse_lost_keys(record)
    if hops := [name.removeprefix(_HOP) for name in record.named_by if name.startswith(_HOP)]:
        raise Conflict(
            f"a jump host has one login, and {_listed(hops)} {'use' if len(hops) > 1 else 'uses'} {record.name}: "
            f"give it a profile of its own first, `jump edit {shlex.quote(hops[0])} --profile OTHER`"
        )


def rotation_ended(record: ProfileRecord, act: Act, typed: int | None) -> ScopeUpdate:
    """One of the two is destroyed; Conflict unless as many as are left behind by that have been typed."""
    if record.rotation is None:
        raise Conflict(f"{record.name} is not being rotated: there is nothing to {act}")
    rotation.confirmed(act, record.rotation.tally, typed)
    tally = record.rotation.tally
    counts = {"on_new": tally.new, "on_old": tally.old, "not_seen": tally.unseen}
    counts |= {"refused_one": tally.waiting, "refused_both": tally.neither}
    detail = {"credential_profile": record.name, "devices": counts, "left_behind": tally.left_behind(act)}
    return ScopeUpdate(_ENDED[act], detail, ends_rotation=act)


def refuse_rotating(record: ProfileRecord) -> None:
    """Conflict while it is rotated: which of its two logins would be meant?"""
    if record.rotation is not None:
        name = shlex.quote(record.name)
        raise Conflict(
            f"{record.name} is being rotated: end that first, `credential rotate {name} --finish` or `--cancel`"
        )


def refuse_lost_keys(record: ProfileRecord) -> None:
    """Conflict if its keys were lost, for then nobody can open it."""
    if record.suspended_reason == KEYS_LOST:
        raise Conflict(f"the keys of {record.name} were lost: give it a new secret, `credential edit` (--ask-password)")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
