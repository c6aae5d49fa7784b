"""Devices as an operator knows them: what may be written about one, what is decided about it, and what is shown."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backupflow.core.firewall import Met
from backupflow.core.rotation import Standing
from backupflow.core.timetable import Cron, Timetable
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from backupflow.core.model import DeviceId, ExpectedKey, HostKey, SealedSecret, TenantId, TrustedHow

LONGEST_NAME = 100
LONGEST_HOST = 253  # RFC 1035, section 2.3.4
LONGEST_USERNAME = 255
DIRECT = "direct"  # in place of a jump host's name: reached without one, whatever the scopes above say
OWN_LOGIN = "its own login"  # in place of a profile's name
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a device belongs, by names. None: as it is, nowhere for a new one; `""`: nowhere any more.

    `jump` may be DIRECT.
    """

    profile: str | None = None
    group: str | None = None
    site: str | None = None
    jump: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """What it speaks of."""
        fields = {"profile": self.profile, "group": self.group, "site": self.site, "jump": self.jump}
        return {name: value for name, value in fields.items() if value is not None}


NOWHERE = Placement()


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device that is to be enrolled; its id is made first, since its login is sealed for it."""

    tenant_id: TenantId
    device_id: DeviceId
    name: str
    host: str
    port: int
    driver: str
    settings: Mapping[str, Any]
    placement: Placement = NOWHERE
    expected: tuple[ExpectedKey, ...] = ()  # the only keys that may be pinned at first sight, if there are any
    source: str | None = None  # the inventory that it comes from


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """A device's own login as it is stored; what is None stays as it was."""

    username: str | None = None
    method: str | None = None  # password or key
    sealed: SealedSecret | None = None


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A host key on record: pinned, offered (another than the pinned one), or retired."""

    number: int
    status: str
    key: HostKey
    first_seen_at: datetime
    last_seen_at: datetime
    last_verified_at: datetime | None
    trusted_how: TrustedHow | None = None  # of a pin, also a retired one
    trusted_by: str | None = None  # None: nobody, it was trusted on first use
    trusted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device as it stands; `now` is PostgreSQL's, `interval` the effective one: how far its turns lie apart.

    `group`, `site`, `profile` and `jump` are the names of its own, `direct` that it says so itself; `via` is the jump
    host that it is really reached through. `effective` has each setting, and beside them `profile` and `jump_host`: the
    value, and where it comes from, such as `site north`.
    """

    tenant_id: TenantId
    device_id: DeviceId
    name: str
    host: str
    port: int
    driver: str
    status: str
    settings: Mapping[str, Any]
    username: str | None
    method: str | None
    has_own_login: bool
    blocked_code: str | None
    blocked_detail: str | None
    blocked_at: datetime | None
    failures: int
    anchor_at: datetime
    next_due_at: datetime | None
    interval: timedelta
    last_collected_at: datetime | None
    now: datetime
    keys: tuple[SeenKey, ...] = ()  # the newest first
    last_seq: int = 0  # of its newest collection
    modern_ssh_at: datetime | None = None  # since when SHA-1 is out of the question for this router
    facts: Mapping[str, Any] = field(default_factory=dict)  # what its current export says of it
    in_doubt: bool = False  # an export was kept aside as suspect since the last one that was believed
    believes: bool = False  # an operator has said since then that the next one is to be believed
    login_lost: bool = False  # it is suspended, since the keys that it was sealed with were lost
    unreadable_to_seq: int = 0  # what was read up to this one is sealed with keys that were given up
    keys_given_up_at: datetime | None = None  # when, if anything is
    removed_at: datetime | None = None
    offline_since: datetime | None = None  # by the word of a poller: it is not collected meanwhile
    flapping_since: datetime | None = None  # it changes without end: it is collected once a day meanwhile
    group: str | None = None
    site: str | None = None
    profile: str | None = None
    jump: str | None = None
    direct: bool = False
    via: str | None = None
    source: str | None = None  # the inventory that it came from
    paused_reason: str | None = None
    login_suspended: str | None = None  # why, if it is
    login_taken: bool = False  # it is blocked for having refused it, and other devices took it as it is now
    login_rotates: bool = False  # there are two, and `standing` says which one it takes, see core.rotation
    standing: Standing = field(default_factory=Standing)
    login_since: datetime | None = None  # since when that one has worked, if it did since the rotation began
    expected: tuple[ExpectedKey, ...] = ()
    effective: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    cron: Cron | None = None  # that says when, in place of an interval
    maintenance_until: datetime | None = None  # nothing of it is collected by itself before, by whichever scope
    own_maintenance_until: datetime | None = None  # by its own word; also one that is over
    met: Met = field(default_factory=Met)  # how often lately, as its firewall counts it

    @property
    def held_until(self) -> datetime | None:
        """Before when nothing that comes by itself connects to it, for fear of its firewall; None: nothing holds it."""
        return self.met.hold_until if self.met.held(self.now) else None

    @property
    def timetable(self) -> Timetable:
        """When it runs."""
        return Timetable(self.interval, self.cron)

    @property
    def pinned(self) -> SeenKey | None:
        """The key that is trusted."""
        return next((key for key in self.keys if key.status == "pinned"), None)

    @property
    def offered(self) -> tuple[SeenKey, ...]:
        """The keys that were offered instead, the newest first."""
        return tuple(key for key in self.keys if key.status == "offered")


@dataclass(frozen=True, slots=True)
class Following:
    """What follows for a device from what only the database can tell."""

    columns: Mapping[str, Any] = field(default_factory=dict)
    clears: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """What an act changes, all in one transaction with its audit row.

    Whether another placement is another way to it, or another login, depends on the scopes: `if_moved` and
    `if_other_login` say what follows then.
    """

    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)  # of the device
    login: DeviceLogin | None = None
    drops_login: bool = False
    retires: tuple[int, ...] = ()  # numbers of host keys
    pins: int | None = None  # the number of an offered host key
    how: TrustedHow | None = None  # it came to be trusted, or, if none is pinned anew, is known by now
    clears: tuple[str, ...] = ()  # codes of alarms of this device
    placement: Placement = NOWHERE
    expects: tuple[ExpectedKey, ...] | None = None  # in place of those of before
    if_moved: Following = Following()
    if_other_login: Following = Following()
    if_login_differs: Following = Following()  # whether it is tried at once or not
    tries_login: bool = True  # another login is tried at once; else what was refused or suspended stays so


def composed(name: str) -> str:
    """One spelling of names that look the same (Unicode's NFC): macOS types é as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def checked_name(name: str) -> str:
    """A name that any terminal, file name and page can bear, composed; InputInvalid otherwise."""
    name = composed(name)
    if not name or len(name) > LONGEST_NAME:
        raise InputInvalid(f"a device's name has 1 to {LONGEST_NAME} characters")
    if not name.isprintable() or name != name.strip() or name.startswith("-") or set(name) & set("/\\"):
        raise InputInvalid("a device's name has no control character, no slash, no blank at its ends, no - before it")
    return name


def checked_host(host: str) -> str:
    """A host name (RFC 1123) or an address, without port, user or brackets; InputInvalid otherwise."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if len(host) > LONGEST_HOST or not _HOST.fullmatch(host) or ".." in host:
            raise InputInvalid(f"not a host name or address: {host[:LONGEST_HOST]!r}") from None
        if not set(host) - set("0123456789."):  # no top-level domain is a number (RFC 3696, section 2)
            raise InputInvalid(f"not an address: {host[:LONGEST_HOST]!r}") from None
        return host


def checked_port(port: int) -> int:
    """A TCP port; InputInvalid otherwise."""
    if not 1 <= port <= 65535:  # noqa: PLR2004 - RFC 9293
        raise InputInvalid(f"not a port: {port}")
    return port


def checked_username(username: str) -> str:
    """A login name; InputInvalid otherwise."""
    if not username or len(username) > LONGEST_USERNAME or not username.isprintable():
        raise InputInvalid(f"a login name has 1 to {LONGEST_USERNAME} characters, none of them a control character")
    return username


def checked_fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as ssh-keygen prints it, with or without padding; InputInvalid otherwise."""
    found = text.strip().rstrip("=")
    if not _FINGERPRINT.fullmatch(found):
        raise InputInvalid("not a fingerprint as `ssh-keygen -lf` prints it: SHA256: and 43 characters")
    return found
