"""What is told to others: an alarm that was raised or is over, as an event of a kind that says who has to act."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from backupflow.core.flapping import FLAPPING
from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN
from backupflow.core.liveness import PROCESS_DEAF
from backupflow.core.overview import JOB_LATE
from backupflow.core.retaining import BRAKED
from backupflow.core.verification import DAMAGED
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    BusUnavailable,
    CollectorBusy,
    EscrowFailed,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    IdentityChanged,
    LoginUnusable,
    SshDowngraded,
    StoreUnavailable,
    TransitKeyMissing,
    VaultUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

UNDELIVERED: Final = "events_undelivered"  # code of an alarm
HOLD: Final = timedelta(seconds=30)  # what is over by then is never told
# Many refuse a shared login at once when its own server is down: it is suspended then, and no device is blocked.
HOLD_REFUSED: Final = timedelta(minutes=15)


class Kind(StrEnum):
    """Who has to act, and whether it may heal by itself."""

    BLOCKED = "blocked"  # a device, or a jump host: nothing of it is collected, or believed, until somebody acts
    DOWN = "down"  # a device, a site or a jump host does not answer: it is tried again
    SUSPENDED = "suspended"  # a login: it is sent to no device
    OVERDUE = "overdue"  # what is due is not collected
    DEPENDENCY = "dependency"  # backupflow itself, or a server that it needs
    CHANGED = "changed"  # the configuration of a device: no alarm, and nobody has to act
    RECOVERED = "recovered"  # what was told is over
    TEST = "test"  # somebody tries the hook

    @property
    def recovers(self) -> bool:
        """Whether its end is told: a block ends by somebody's act, who knows."""
        return self in {Kind.DOWN, Kind.SUSPENDED, Kind.OVERDUE, Kind.DEPENDENCY}


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


# Of every alarm there is; a test holds the list of alarms against it. None: never told.
KINDS: Final[Mapping[str, Kind | None]] = {
    **dict.fromkeys(
        (
            AlgorithmsIncompatible.code, AuthenticationFailed.code, HostKeyMismatch.code, HostKeyUnapproved.code,
            IdentityChanged.code, SshDowngraded.code, JUMP_HOST_BLOCKED, ExportSuspect.code, "row_unusable",
            "secrets_hidden", "settings_unusable",
        ),
        Kind.BLOCKED,
    ),
    **dict.fromkeys(("device_down", "site_down", JUMP_HOST_DOWN), Kind.DOWN),
    **dict.fromkeys(("login_refused", LoginUnusable.code), Kind.SUSPENDED),
    **dict.fromkeys(("overdue", "capacity", FLAPPING), Kind.OVERDUE),
    **dict.fromkeys(
        (
            BusUnavailable.code, CollectorBusy.code, EscrowFailed.code, StoreUnavailable.code, TransitKeyMissing.code,
            VaultUnavailable.code, BRAKED, DAMAGED, JOB_LATE, PROCESS_DEAF, "broker_unavailable", "clock_skew",
            "lane_without_workers", "look_hangs", "presence_without_ttl", "quarantine", "stream_remade",
            "unexpected", "wrong_current",
        ),
        Kind.DEPENDENCY,
    ),
    UNDELIVERED: None,  # it would be told by what does not work
}  # fmt: skip
_CRITICAL = frozenset({"site_down", HostKeyMismatch.code, IdentityChanged.code})
_MILD = frozenset(
    {BRAKED, "clock_skew", "presence_without_ttl", "stream_remade", CollectorBusy.code, EscrowFailed.code, JOB_LATE}
)
_OF_KIND = {
    Kind.SUSPENDED: Severity.CRITICAL,
    Kind.DEPENDENCY: Severity.CRITICAL,
    Kind.CHANGED: Severity.INFO,
    Kind.RECOVERED: Severity.INFO,
    Kind.TEST: Severity.INFO,
}


def kind_of(code: str) -> Kind | None:
    """The kind that an alarm is told as; of a code that is not known it is told too."""
    return KINDS.get(code, Kind.DEPENDENCY)


def severity_of(kind: Kind, code: str) -> Severity:
    """How soon somebody should look."""
    if kind not in {Kind.CHANGED, Kind.RECOVERED, Kind.TEST} and code in _CRITICAL:
        return Severity.CRITICAL
    if kind is Kind.DEPENDENCY and code in _MILD:
        return Severity.WARNING
    return _OF_KIND.get(kind, Severity.WARNING)


def hold_of(code: str, *, shared_login: bool) -> timedelta:
    """How long it must have stood before it is told."""
    return HOLD_REFUSED if shared_login and code == AuthenticationFailed.code else HOLD
