"""`.cloginrc` of RANCID: directives with globs of host names; of each directive the first that matches counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.adapters.inventories.tcl_glob import Glob
from backupflow.adapters.inventories.tcl_words import Command, commands
from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    from backupflow.adapters.inventories.tally import Tally
    from backupflow.adapters.inventories.texts import Texts

_MOST_FILES = 50
_MOST_DIRECTIVES = 100_000
_FOLLOWED = frozenset({"user", "password", "userpassword", "method", "identity", "passphrase", "sshcmd"})
_SECRET = frozenset({"password", "userpassword", "passphrase"})


@dataclass(frozen=True, slots=True)
class Directive:
    """One `add NAME GLOB VALUE …`."""

    name: str
    glob: str
    values: tuple[str, ...] = field(repr=False)
    glob_of: Glob = field(repr=False)


@dataclass(slots=True)
class Cloginrc:
    """The directives of a file and of those that it includes, in order."""

    texts: Texts
    tally: Tally
    directives: list[Directive] = field(default_factory=list)
    _files: int = 0

    def read(self, file: Path) -> None:
        """Add what a file says; it may include others."""
        self._files += 1
        if self._files > _MOST_FILES:
            self.tally.one(file.name, "includes more files than are followed here")
            return
        for command in commands(self.texts.read(file)):
            self._take(file, command)

    def first(self, name: str, host: str) -> Directive | None:
        """The first directive of that name whose glob is the host's; upper and lower case are one."""
        return next((each for each in self.directives if each.name == name and each.glob_of.matches(host)), None)

    def _take(self, file: Path, command: Command) -> None:
        where = f"line {command.line}"
        match command.words:
            case None:
                self.tally.count(file.name, "that would have to be run to be understood: left out", where)
            case ("include", name):
                self._include(file, name, where)
            case ("add", name, _, *_) if name not in _FOLLOWED:
                self.tally.count(file.name, f"add {name[:40]}: it has no meaning here", where)
            case ("add", name, glob, *values) if values and len(self.directives) < _MOST_DIRECTIVES:
                self.directives.append(Directive(name, glob, tuple(values), Glob(glob)))
                if name in _SECRET:
                    self.texts.holds_secrets(file)
            case _:
                self.tally.count(file.name, "not understood: left out", where)

    def _include(self, file: Path, name: str, where: str) -> None:
        asked = Path(name).expanduser()
        beside = file.parent / asked.name
        try:
            self.read(asked if asked.is_absolute() and asked.is_file() else beside)
        except BackupflowError:
            self.tally.count(file.name, "include of a file that cannot be read", where)
