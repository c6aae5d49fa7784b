"""What `backupflow doctor` says of the hook that is told of alarms."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.check import Check

if TYPE_CHECKING:
    from backupflow.wiring import Wiring

_HERE = ("127.0.0.1", "::1", "localhost")


def hook(found: Wiring) -> Check:
    """Who is told, whether that could be, and how it stands with what is to be told."""
    from backupflow.core.hook_target import Address, Command, target
    from backupflow.wiring import event_secrets

    to, state = target(found.settings.telling.on_event), found.event_desk("reader").state()
    if to is None:
        return Check("events", "nobody is told of alarms: CONFIG_ON_EVENT is not set")
    last = f"last told {output.in_words(state.sent_at)}" if state.sent_at else "nothing told yet"
    says = f"{to.shown}, {last}, {state.waiting} waiting"
    remedies = []
    if isinstance(to, Command) and shutil.which(to.words[0]) is None:
        remedies.append("its command is not found here: the maintain worker runs it, with its PATH, in /")
    if isinstance(to, Address):
        event_secrets.count(found)
    if state.failing or state.given_up:
        says += f", {state.failing} failing, {state.given_up} given up: {state.answer or 'not tried'}"
        remedies.append("see `event list --failed`, then `event test` and `event retry`")
    open_to_all = isinstance(to, Address) and to.scheme == "http" and to.host not in _HERE
    each = ("events: over http anybody on the way can read them; they are signed, not sealed",) if open_to_all else ()
    return Check("events", says, "; ".join(remedies), each)
