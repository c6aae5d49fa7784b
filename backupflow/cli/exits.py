"""What the exit code of a command says: sysexits(3) where it has a word for it."""

from __future__ import annotations

from enum import IntEnum

from backupflow import errors


class Exit(IntEnum):
    """The exit codes; `meaning` is what the help shows."""

    OK = 0
    WRONG = 1
    USAGE = 2
    DATA = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    WOULD_OVERWRITE = 73
    LOCKED = 75
    REFUSED = 77
    SETTINGS = 78
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """In words."""
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "done, and all is well",
    Exit.WRONG: "done or looked at, and something is wrong",
    Exit.USAGE: "the command line is not understood",
    Exit.DATA: "what was given or read is incomplete, damaged or invalid",
    Exit.NOT_FOUND: "there is nothing of that name",
    Exit.UNAVAILABLE: "backupflow does not run, or a server does not answer, refuses or has lost its keys",
    Exit.WOULD_OVERWRITE: "a file is there already: --force",
    Exit.LOCKED: "nothing was tried: a device is blocked or paused, its login waits, or it was met too often",
    Exit.REFUSED: "refused: not confirmed, not private, or against what is there",
    Exit.SETTINGS: "a setting or the database schema is not right",
    Exit.INTERRUPTED: "interrupted",
}
_OF_FAILURES: dict[type[errors.BackupflowError], Exit] = {
    errors.InputInvalid: Exit.DATA,
    errors.MessageMalformed: Exit.DATA,
    errors.NotAConfiguration: Exit.DATA,
    errors.OutputTruncated: Exit.DATA,
    errors.NotFound: Exit.NOT_FOUND,
    errors.VaultUnavailable: Exit.UNAVAILABLE,
    errors.TransitKeyMissing: Exit.UNAVAILABLE,
    errors.BusUnavailable: Exit.UNAVAILABLE,
    errors.StoreUnavailable: Exit.UNAVAILABLE,
    errors.NotRunning: Exit.UNAVAILABLE,
    errors.ServerUnusable: Exit.UNAVAILABLE,
    errors.InventoryUnavailable: Exit.UNAVAILABLE,
    errors.Conflict: Exit.REFUSED,
    errors.FolderInUse: Exit.REFUSED,
    errors.AlreadyThere: Exit.WOULD_OVERWRITE,
    errors.BackupUnreadable: Exit.DATA,
    errors.SettingsInvalid: Exit.SETTINGS,
    errors.SchemaOutdated: Exit.SETTINGS,
}
_SAYS_ALL = {one.code for one in (errors.InputInvalid, errors.NotFound, errors.Conflict, errors.AlreadyThere)}
_SAYS_ALL.add(errors.BackupflowError.code)


def exit_of(failure: errors.BackupflowError) -> Exit:
    """The exit code of a command that ended with this failure."""
    return _OF_FAILURES.get(type(failure), Exit.WRONG)


def line_of(failure: errors.BackupflowError) -> str:
    """What a command says at its end; with the page that says more, but of what was only asked for wrongly."""
    return str(failure) if failure.code in _SAYS_ALL else f"{failure} – docs/runbook/{failure.code}.md"


def table() -> str:
    """All codes, one a line, for the end of the help; the first mark keeps the lines as they are."""
    lines = [f"  {code.value:>3}  {code.meaning}" for code in Exit]
    return "\n".join(["\b", "Exit codes:", *lines])
