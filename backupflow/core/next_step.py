"""What to do next about a code, for one device or for many, in one line that can be typed."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import LoginOn
from backupflow.core.refusals import LOGIN_REFUSED
from backupflow.errors import AuthenticationFailed, LoginSuspended, LoginUnusable

if TYPE_CHECKING:
    from datetime import datetime

# Where a device stands in the way of itself; what a failure says of its kind is in backupflow.errors.
_STEPS = {
    "export_suspect": "`snapshots {name} --aside` and `export {name} --aside` show what it gave; "
    "`backup {name} --wait` asks once more, `device believe {name}` believes the next one however it looks",
    "identity_changed": "if it was exchanged: `device replaced {name}`; if the address is wrong: "
    "`device edit {name} --host ADDRESS`, then `device unblock {name}`",
    "secrets_hidden": "then `backup {name} --wait`; to leave them on the router: `device edit {name} --secrets omit`",
    "host_key_mismatch": "`hostkey show {name}`; compare with the router's own key before `hostkey accept {name}`",
    "host_key_unapproved": "`hostkey show {name}`; compare it with the router's own, then `hostkey approve {name}`",
    AuthenticationFailed.code: "`device edit {name} {secret}`, or mend it there and `device unblock {name}`",
    KEYS_LOST: "its login was sealed with keys that were lost: `device edit {name} {secret}`",
    LoginUnusable.code: "`device edit {name} {secret}`, with --passphrase-file if the key has one",
    "algorithms_incompatible": "`/ip ssh set strong-crypto=yes` there, then `device unblock {name}`",
    "ssh_downgraded": "`/ip ssh set strong-crypto=yes` there, then `device unblock {name}`; if that cannot be: "
    "`device edit {name} --legacy-ssh`; if it is another router: `device replaced {name}`",
}
# Of a login that is shared: what mends it for all that use it.
_SHARED = {
    AuthenticationFailed.code: "`credential edit {profile} {secret}` for all that use it, or mend it there and "
    "`device unblock {name}`",
    KEYS_LOST: "`credential edit {profile} {secret}` for all that use it",
    LoginUnusable.code: "`credential edit {profile} {secret}` for all that use it, with --passphrase-file if the key "
    "has one",
    LoginSuspended.code: "`credential show {profile}` says why; `credential resume {profile}` ends it",
    LOGIN_REFUSED: "`credential show {profile}` says when a device tries it again; "
    "`credential edit {profile} {secret}` gives it another secret, `credential resume {profile}` tries it on all now",
}
# Of one that other devices took as it is: another secret for all would end the backups that work.
_TAKEN = (
    "other devices take it: change it on {name}, then `device unblock {name}`; "
    "`device edit {name} {secret}` gives it a login of its own"
)
_UNBLOCKED = "`device unblock --where blocked=authentication_failed`"
_TAKEN_BY_MANY = "other devices take it: change it on those routers, then "
_MANY = {
    AuthenticationFailed.code: f"{_UNBLOCKED} if it was mended there",
    "host_key_mismatch": "`hostkey pending --changed`; compare them with the routers' own before `hostkey accept`",
    "host_key_unapproved": "`hostkey pending --first`; compare them with the routers' own, then `hostkey approve`",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """The other of two logins is sent next, by itself: which one, and when; None: nobody knows, it is not collected."""

    on: LoginOn
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """What is known of a device once it has refused a login, and of that login."""

    name: str
    profile: str | None = None  # the shared login that it uses; None: its own
    by_key: bool = False
    taken: bool = False  # other devices took that login as it is now
    blocked: bool = False  # the device is sent nothing any more
    suspended: bool = False  # the login is sent nowhere
    tried: bool = False  # but by one device at a time, since many refused it
    turn: Turn | None = None


def after_refusal(known: Refused) -> str:
    """What a person is to do about it; nothing while another login has its turn.

    A block is of this device, and a suspension of its login: while either lasts, no turn comes.
    """
    if known.profile and known.suspended and not known.blocked:
        code = LOGIN_REFUSED if known.tried else LoginSuspended.code  # it is the login that waits, not the device
        return f"the login is suspended: {next_step(code, known.name, known.profile, by_key=known.by_key)}"
    if known.turn is not None and not known.blocked:
        return its_turn(known.turn, known.name)
    code = AuthenticationFailed.code
    return next_step(code, known.name, known.profile, by_key=known.by_key, taken=known.taken) or ""


def its_turn(turn: Turn, name: str | None = None) -> str:
    """That another login is sent by itself, and when; `name`: of whose page to look at, None: it is said there."""
    which = "new" if turn.on is LoginOn.NEXT else "old"
    if turn.due_at is None:
        return f"nothing is to be done about its login: the {which} one is sent when it is collected next"
    when = f"{turn.due_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    see = f", see `device show {shlex.quote(name)}`" if name else ""
    return f"nothing is to be done: the {which} login is sent by itself at {when}{see}"


def next_step(
    code: str | None, name: str, profile: str | None = None, *, by_key: bool = False, taken: bool = False
) -> str | None:
    """The commands for this device; None for a code that has none of its own.

    `profile`: the shared login that it uses, `by_key`: with a key, `taken`: other devices took it as it is now.
    """
    step = _TAKEN if profile and taken and code == AuthenticationFailed.code else None
    step = step or (_SHARED.get(code or "") if profile else None) or _STEPS.get(code or "")
    words = {"name": shlex.quote(name), "profile": shlex.quote(profile or ""), "secret": _secret(code, by_key=by_key)}
    return step and step.format(**words)


def step_for_many(code: str, profile: str | None, *, by_key: bool = False, taken: bool = False) -> str | None:
    """The commands for all devices that have this code, and this shared login if one is named."""
    words = {"profile": shlex.quote(profile or ""), "secret": _secret(code, by_key=by_key)}
    if profile and taken and code == AuthenticationFailed.code:
        return f"{_TAKEN_BY_MANY}{_UNBLOCKED}"
    shared = "`credential edit {profile} {secret}`".format(**words)
    some = [shared] if profile and code in {AuthenticationFailed.code, LoginUnusable.code} else []
    if code in _MANY:
        some.append(_MANY[code])
    return "; ".join(some) or None


def hindered(reason: str, name: str, profile: str | None, *, by_key: bool = False, taken: bool = False) -> str | None:
    """The same for what keeps a device from being collected, in the words of adapters.db.effective."""
    kind, _, what = reason.partition(": ")
    match kind:
        case "blocked":
            step = next_step(what, name, profile, by_key=by_key, taken=taken)
            return step or f"`device unblock {shlex.quote(name)}`"
        case "login suspended" if "keys were lost" in what:
            return next_step(KEYS_LOST, name, profile, by_key=by_key)
        case "login suspended":
            quoted = shlex.quote(name)
            return next_step(LoginSuspended.code, name, profile) or f"`device edit {quoted}` with another login"
        case "login refused":
            return next_step(LOGIN_REFUSED, name, profile or what, by_key=by_key)
        case "no login":
            return f"`device edit {shlex.quote(name)} --profile NAME`, or a login of its own"
        case _ if kind.startswith("jump host"):
            return f"`jump show {shlex.quote(what)}`" if what else "`jump list`"
        case "site down":
            return "`status`: it is tried every 5 minutes, and all of it is due once anything there answers"
        case "maintenance":
            return "`site maintenance NAME --end`, or of the tenant or the group that it is in"
        case "paused":
            return f"`device resume {shlex.quote(name)}`"
        case _:
            return None


def _secret(code: str | None, *, by_key: bool) -> str:
    return "--key-file FILE" if by_key or code == LoginUnusable.code else "--ask-password"
