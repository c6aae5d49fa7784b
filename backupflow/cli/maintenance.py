"""`maintenance`, of a device, a group, a site or a tenant: nobody comes by himself until then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import device_acts, output, scope_view
from backupflow.cli.options import actor, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.maintenance import Wish
    from backupflow.core.scopes import ScopeKind

WHAT = (
    "Let nobody come by himself for a while: what is due meanwhile is collected afterwards, and no alarm is raised for "
    "what does not answer. What somebody asks for (`backup`, `device test`) is done. For every week there is the "
    "setting: `--maintenance 'sat,sun 01:00-05:00 Europe/Berlin'`."
)


@dataclass(frozen=True, slots=True)
class HowLong:
    """One of these."""

    lasts: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="From now on, e.g. 2h; 31d at most.", show_default=False)
    ] = None
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The next 05:00 in UTC, '05:00 Europe/Berlin', or a time as 2026-11-22T05:00Z.",
            show_default=False,
        ),
    ] = None
    end: Annotated[bool, typer.Option("--end", help="It is over, also a weekly window that is open.")] = False

    def wish(self) -> Wish:
        """As the core knows it; BadParameter unless one is said."""
        from backupflow.core.maintenance import Wish

        if [self.lasts is not None, self.until is not None, self.end].count(True) != 1:
            raise typer.BadParameter("say how long: one of --for 2h, --until 05:00 and --end")
        lasts = seconds(self.lasts)
        if lasts is not None and lasts > timedelta(days=3660).total_seconds():
            raise typer.BadParameter(f"not that long: {self.lasts!r}")
        return Wish(None if lasts is None else timedelta(seconds=lasts), self.until)


def of_device(name: str, tenant: str, how_long: HowLong, *, as_json: bool) -> None:
    """A device."""
    from backupflow.flows import enroll

    wish, tenant_id = how_long.wish(), wiring().devices("enroller").tenant(tenant)
    done = enroll.maintain(wiring().enroll_ports(actor()), tenant_id, name, wish)
    if as_json or not done.changed:
        device_acts.told(done, "", as_json=as_json)
    else:
        output.say(f"{done.device.name} {_state(done.device.maintenance_until, done.device.now)}")


def of_scope(kind: ScopeKind, name: str, tenant: str, how_long: HowLong, *, as_json: bool) -> None:
    """A group, a site or a tenant."""
    from backupflow.flows import scopes

    wish, tenant_id = how_long.wish(), wiring().devices("enroller").tenant(tenant)
    done = scopes.maintain(wiring().scope_ports(actor()), kind, tenant_id, name, wish)
    record: Any = done.record
    state = _state(record.maintenance_until, record.now)
    scope_view.say_done(state, record, changed=done.changed, as_json=as_json)


def _state(until: datetime | None, now: datetime) -> str:
    if until is None or until <= now:
        return "is not in maintenance any more"
    return f"is in maintenance until {output.in_words(until)}, for {output.span(until - now)}"
