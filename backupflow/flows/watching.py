"""The job `watch`: what nobody reports, since nothing happens: devices that are late, and slots that do not suffice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core import watching
from backupflow.flows.maintain import Ran

if TYPE_CHECKING:
    from backupflow.core.ports import WatchStore

WATCH = "watch"  # its name in `job`


def watch(store: WatchStore) -> Ran:
    """Settle the alarms `overdue` and `capacity`; what of them stands afterwards."""
    told = watching.judge(store.look())
    standing = store.settle(told)
    return Ran({"overdue": standing, "capacity": int(told.shortage.stands)})
