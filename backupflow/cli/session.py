"""What the commands of one call share: which install they are for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.cli.install import open_wiring

if TYPE_CHECKING:
    from backupflow.wiring import Wiring


@dataclass
class Session:
    """One call of the command line; `data_dir` is None unless it was given."""

    data_dir: Path | None = None

    @cached_property
    def wiring(self) -> Wiring:
        """The install, found when a command first needs it."""
        return open_wiring(self.data_dir)


_current = Session()


def begin(data_dir: Path | None) -> None:
    """Remember what stood before the command."""
    _current.data_dir = data_dir
    vars(_current).pop("wiring", None)


def end() -> None:
    """Close what a command has opened."""
    opened: Wiring | None = vars(_current).pop("wiring", None)
    if opened is not None:
        opened.close()


def session() -> Session:
    """This call."""
    return _current


def wiring() -> Wiring:
    """The install that this call is for."""
    return _current.wiring
