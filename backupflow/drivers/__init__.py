"""What each vendor says: one folder a vendor, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backupflow.drivers.routeros.driver import RouterOS
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.driver import Driver

DRIVERS: Final[Mapping[str, Driver]] = {driver.name: driver for driver in (RouterOS(),)}


def driver(name: str) -> Driver:
    """Give the driver of that name; raises InputInvalid for a name that there is not."""
    found = DRIVERS.get(name)
    if found is None:
        raise InputInvalid(f"no driver {name!r}; there are: {', '.join(sorted(DRIVERS))}")
    return found
