"""The taxonomy of failures: one question decides everything, "what now?".

A class's docstring is its message to an operator, `code` its stable name (metric label, log field, runbook page) and
`verdict` what happens next. Instances carry one optional detail, never a secret, and survive pickling. Of a class with
`detail_says_all` the detail is a sentence of its own: what was refused, and why.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Verdict(StrEnum):
    """What a failure means for the device that met it."""

    RETRY = "retry"  # the device's world may heal: again after a growing wait
    BLOCK = "block"  # the same input fails the same way: a person must act
    GIVE_UP = "give_up"  # this one only: recorded, the device goes on at its interval
    PAUSE = "pause"  # ours is down: nothing counts against the device, resumes by itself
    HALT = "halt"  # the process must not start
    REFUSE = "refuse"  # what a person asked for cannot be done: nothing was changed


class BackupflowError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    verdict: ClassVar[Verdict] = Verdict.GIVE_UP
    detail_says_all: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        """One line: what happened and what to do next, then the detail; the detail alone where it says all of that."""
        if self.detail and self.detail_says_all:
            return self.detail
        says = " ".join((type(self).__doc__ or "").split())
        return f"{says} ({self.detail})" if self.detail else says


class DeviceUnreachable(BackupflowError):
    """The device did not answer; check its address, its power and the way to it."""

    code = "device_unreachable"
    verdict = Verdict.RETRY


class NameUnresolved(BackupflowError):
    """The device's name could not be resolved; correct it with `device edit --host`, or mend the name service."""

    code = "name_unresolved"
    verdict = Verdict.RETRY


class ConnectionRefused(BackupflowError):
    """The device refused the connection; check that its SSH service is on and admits this address."""

    code = "connection_refused"
    verdict = Verdict.RETRY


class JumpHostUnreachable(BackupflowError):
    """The jump host in front of the device did not answer; its devices wait, and it is tried again. See `jump list`."""

    code = "jump_host_unreachable"
    verdict = Verdict.RETRY


class JumpHostBlocked(BackupflowError):
    """The jump host refused the login, showed another host key, or forwards nothing; its devices wait. See `jump list`."""

    code = "jump_host_blocked"
    verdict = Verdict.BLOCK


class DeviceTimeout(BackupflowError):
    """The device connected but did not finish in time; it may be overloaded, or needs a longer time-out."""

    code = "device_timeout"
    verdict = Verdict.RETRY


class OutputTruncated(BackupflowError):
    """The export broke off before its end; it was not stored and is collected again."""

    code = "output_truncated"
    verdict = Verdict.RETRY


class ExportSuspect(BackupflowError):
    """The export is whole but much smaller than the last one, or lacks a menu; it is kept aside until the next says the same."""

    code = "export_suspect"
    verdict = Verdict.RETRY


class AuthenticationFailed(BackupflowError):
    """The device refused the login; set the right credentials with `credential edit` or `device edit`, or `device unblock` it."""

    code = "authentication_failed"
    verdict = Verdict.BLOCK


class HostKeyMismatch(BackupflowError):
    """The device offered another host key than the pinned one; compare both with `hostkey show` before `hostkey accept`."""

    code = "host_key_mismatch"
    verdict = Verdict.BLOCK


class HostKeyUnapproved(BackupflowError):
    """The device's host key was never approved and its trust policy asks for that; see `hostkey show`."""

    code = "host_key_unapproved"
    verdict = Verdict.BLOCK


class AlgorithmsIncompatible(BackupflowError):
    """The device speaks no SSH algorithm that is allowed; turn on strong-crypto there, or allow SHA-1 with `device edit --legacy-ssh`."""

    code = "algorithms_incompatible"
    verdict = Verdict.BLOCK


class SshDowngraded(BackupflowError):
    """The device spoke modern SSH before and offers only SHA-1 or CBC now; `device edit --legacy-ssh` if that is right, `device replaced` if it is another router."""

    code = "ssh_downgraded"
    verdict = Verdict.BLOCK


class IdentityChanged(BackupflowError):
    """Another router answers here behind the accepted key; `device replaced` if it was exchanged, else correct its address with `device edit` and `device unblock` it."""

    code = "identity_changed"
    verdict = Verdict.BLOCK


class CommandRejected(BackupflowError):
    """The device did not accept the export command; check the policy of its user."""

    code = "command_rejected"


class NotAConfiguration(BackupflowError):
    """What the device answered is not a configuration; it was not stored."""

    code = "not_a_configuration"


class OutputTooLarge(BackupflowError):
    """The device sent more than the largest export that is accepted; it was not stored."""

    code = "output_too_large"


class MessageMalformed(BackupflowError):
    """A message on the bus could not be understood; it was put into quarantine."""

    code = "message_malformed"


class VaultUnavailable(BackupflowError):
    """The vault does not answer or refuses; nothing is collected until it is back. See `doctor`."""

    code = "vault_unavailable"
    verdict = Verdict.PAUSE


class TransitKeyMissing(BackupflowError):
    """The vault has lost a key; nothing is collected until the old keys are back. Restore the vault; if they are gone for good, `keys renew --lost`."""

    code = "transit_key_missing"
    verdict = Verdict.PAUSE


class BusUnavailable(BackupflowError):
    """The message bus does not answer or has no room; nothing is collected until it has. See `doctor`."""

    code = "bus_unavailable"
    verdict = Verdict.PAUSE


class StoreUnavailable(BackupflowError):
    """The database does not answer; nothing is collected until it is back. See `doctor`."""

    code = "store_unavailable"
    verdict = Verdict.PAUSE


class LoginSuspended(BackupflowError):
    """The login of this device is suspended; nothing was sent to the device."""

    code = "suspended"
    verdict = Verdict.PAUSE


class LoginUnusable(BackupflowError):
    """The login cannot be used as it is kept; nothing was sent to the device. Set it anew with `credential edit` or `device edit`."""

    code = "login_unusable"


class LeaseLost(BackupflowError):
    """Another worker has taken this collection over; what was read is dropped."""

    code = "lease_lost"
    verdict = Verdict.PAUSE


class CollectorBusy(BackupflowError):
    """This machine was too busy to read the export in time; it is collected again. Add workers, or lower their pools."""

    code = "collector_busy"
    verdict = Verdict.PAUSE


class SettingsInvalid(BackupflowError):
    """A setting is missing or wrong; correct it and start again."""

    code = "settings_invalid"
    verdict = Verdict.HALT


class SchemaOutdated(BackupflowError):
    """The database schema does not match this version; run `backupflow migrate`."""

    code = "schema_outdated"
    verdict = Verdict.HALT


class InventoryUnavailable(BackupflowError):
    """The other system's inventory could not be read whole; nothing was changed. Check its address, its token and its certificate."""

    code = "inventory_unavailable"
    verdict = Verdict.REFUSE


class EscrowFailed(BackupflowError):
    """No escrow was written; the files before it stand."""

    code = "escrow_failed"
    verdict = Verdict.REFUSE


class BackupUnreadable(BackupflowError):
    """The backup of the system was not opened; nothing was changed."""

    code = "backup_unreadable"
    verdict = Verdict.REFUSE


class AlreadyThere(BackupflowError):
    """A file of that name is there already; nothing was written."""

    code = "already_there"
    verdict = Verdict.REFUSE


class ServerUnusable(BackupflowError):
    """A server of the one-machine install did not start."""

    code = "server_unusable"
    verdict = Verdict.HALT


class FolderInUse(BackupflowError):
    """Another backupflow already runs on this data folder; stop it first, or choose another with --data-dir."""

    code = "folder_in_use"
    verdict = Verdict.HALT


class NotRunning(BackupflowError):
    """No backupflow runs here: start it with `backupflow up`, or its unit of systemd."""

    code = "not_running"
    verdict = Verdict.REFUSE


class NotFound(BackupflowError):
    """There is nothing of that name."""

    code = "not_found"
    verdict = Verdict.REFUSE


class Conflict(BackupflowError):
    """That contradicts what is there."""

    code = "conflict"
    verdict = Verdict.REFUSE
    detail_says_all = True


class InputInvalid(BackupflowError):
    """What was given cannot be understood."""

    code = "input_invalid"
    verdict = Verdict.REFUSE
    detail_says_all = True


def of_code(code: str | None) -> type[BackupflowError] | None:
    """The class of a code; None for one that is of no failure, such as an alarm's own."""
    return next((kind for kind in BackupflowError.__subclasses__() if kind.code == code), None)
