"""`backupflow device show`: all that is known of a device."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from backupflow.cli import key_view, output
from backupflow.cli.device_document import document
from backupflow.cli.device_settings import shown_name, shown_value
from backupflow.cli.device_trouble import after_failure, raised
from backupflow.cli.options import AsJson, DeviceName, InTenant
from backupflow.cli.output import LONGEST_DETAIL
from backupflow.cli.session import wiring
from backupflow.cli.standing_lines import to_do
from backupflow.core.inventory import DIRECT, OWN_LOGIN
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import LoginOn, Secrets, State
from backupflow.core.next_step import Turn, its_turn, next_step
from backupflow.core.scope import GLOBAL
from backupflow.errors import ExportSuspect, LoginSuspended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.overview import Alarm, DeviceState, LastCollection

    _Row = tuple[str, output.Cell]

_SECRETS: dict[str, str] = {
    Secrets.SHOWN: "shown",
    Secrets.HIDDEN: "hidden: asked for, and the router does not show them",
    Secrets.OMITTED: "omitted: not asked for",
    Secrets.NONE: "none: asked for, and there are none",
}
_NAMES = ("identity", "model", "version", "serial", "system_id")
_ONLY_IF_SO = {
    "its way", "why", "alarms", "what next", "trusted", "like others", "believes", "not exported", "unreadable",
    "group", "site", "from", "profile", "expected", "in maintenance", "offline", "site down", "held", "flapping",
}  # fmt: skip
_OF_THE_WAY = {"profile", "jump_host"}  # shown above


def show(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Show one device. Example: `backupflow device show core-1 --json`."""
    devices = wiring().devices("reader")
    record = devices.find(devices.tenant(tenant), name)
    if as_json:
        output.as_document(document(record))
        return
    overview = wiring().statuses.overview(record.tenant_id)
    state = next((device for device in overview.devices if device.device_id == record.device_id), None)
    rows = (
        *_what_we_know(record, state, overview.alarms),
        *_when_it_is_due(record, state),
        *_what_it_says(record.facts),
        *_how_it_is_known(record),
    )
    alike = " and ".join(key_view.alike(*wiring().key_desk("reader").likenesses(record.device_id)))
    rows = (*rows, ("like others", alike or None))
    shown = [(what, says) for what, says in rows if says is not None or what not in _ONLY_IF_SO]
    output.show_table(("device", record.name), shown)
    output.say("")
    settings = sorted(record.effective.items())
    output.show_table(
        ("setting", "is", "from"),
        [(shown_name(n), shown_value(n, value), origin) for n, (value, origin) in settings if n not in _OF_THE_WAY],
    )


def _what_we_know(record: DeviceRecord, state: DeviceState | None, alarms: Sequence[Alarm]) -> tuple[_Row, ...]:
    last = state.last if state else None
    return (
        ("address", f"{record.host} port {record.port}"),
        ("reached", _way(record)),
        ("its way", _trouble_ahead(state, record.via)),
        ("group", record.group),
        ("site", record.site),
        ("from", record.source),
        ("driver", record.driver),
        ("profile", _from(record, "profile")),
        ("login", _login(record)),
        ("status", _status(record)),
        ("why", output.told(record.blocked_detail, LONGEST_DETAIL)),
        ("alarms", raised(record, alarms)),
        ("what next", _next(record) or after_failure(record, last, _due(record))),
        ("believes", "the next export will be believed" if record.believes else None),
        ("last run", _last(last, record.now)),
        ("failures", record.failures),
    )


def _when_it_is_due(record: DeviceRecord, state: DeviceState | None) -> tuple[_Row, ...]:
    return (
        ("when", _when(record)),
        ("in maintenance", record.maintenance_until and f"until {output.in_words(record.maintenance_until)}"),
        ("offline", record.offline_since and f"a poller says so, since {output.in_words(record.offline_since)}"),
        ("site down", _site_down(state)),
        ("held", _held(record)),
        ("flapping", _flapping(record)),
        ("next due", _due(record)),
        ("last stored", record.last_collected_at),
        ("unreadable", _given_up(record)),
    )


def _due(record: DeviceRecord) -> datetime | None:
    """When it is collected next by itself; not before the end of what it is held for."""
    due = None if record.blocked_code else record.next_due_at
    return max(filter(None, (due, record.held_until))) if due else None


def _site_down(state: DeviceState | None) -> str | None:
    """That it waits with all others there."""
    if state is None or state.site_down_since is None:
        return None
    return f"{state.site} since {output.in_words(state.site_down_since)}; it waits until one of them answers: `status`"


def _flapping(record: DeviceRecord) -> str | None:
    if record.flapping_since is None:
        return None
    since, suggest = output.in_words(record.flapping_since), f"`ignore suggest --device {shlex.quote(record.name)}`"
    return f"since {since}; it is collected once a day, {suggest} names what changes each time"


def _held(record: DeviceRecord) -> str | None:
    """Why nobody comes by himself though it may be due, and who comes all the same."""
    if record.held_until is None:
        return None
    wary = record.met.wary(record.now)
    many, command = (3, "--force") if wary else (2, "--wait")
    return (
        f"until {output.in_words(record.held_until)}: {many} connections lately, a router's firewall might ban us; "
        f"`backup {shlex.quote(record.name)} {command}` insists"
    )


def _when(record: DeviceRecord) -> str:
    """`every 6 h (site north)`, or by which expression."""
    if record.cron is None:
        return f"every {output.span(record.interval)} ({record.effective.get('interval_seconds', ('', GLOBAL))[1]})"
    return f"{record.cron} ({record.effective.get('cron', ('', GLOBAL))[1]})"


def _trouble_ahead(state: DeviceState | None, via: str | None) -> str | None:
    """That it cannot be reached for its jump host's sake."""
    if state is None or state.waits_for is None:
        return None
    says = state.hindrance or f"jump host down: {via}"  # it may be tried by now, and nobody has passed it yet
    return f"{says}; see `jump show {shlex.quote(via or '')}`"


def _way(record: DeviceRecord) -> str:
    name, origin = record.effective.get("jump_host", (DIRECT, GLOBAL))
    if name == DIRECT:
        return DIRECT if origin == GLOBAL else f"{DIRECT} ({origin})"
    return f"through {name} ({origin})"


def _from(record: DeviceRecord, name: str) -> str | None:
    found = record.effective.get(name)
    return found and f"{found[0]} ({found[1]})"


def _status(record: DeviceRecord) -> str:
    paused = f"{record.status}: {record.paused_reason}" if record.paused_reason else record.status
    if not record.blocked_code:
        return paused
    return f"blocked: {record.blocked_code}" + (f"; {paused}" if record.status == "paused" else "")


def _login(record: DeviceRecord) -> str | None:
    if not record.username:
        return None
    suspended = "its keys were lost" if record.login_lost else record.login_suspended
    rotates = f"; {_on(record)}" if record.login_rotates else ""
    return f"{record.username} ({record.method}{rotates}{f'; suspended: {suspended}' if suspended else ''})"


def _on(record: DeviceRecord) -> str:
    """Which of two logins it takes, as far as is known."""
    standing = record.standing
    name = {LoginOn.CURRENT: "old", LoginOn.NEXT: "new"}
    if standing.refused_both:
        return "refused both old and new"
    if standing.refused_on is not None:
        return f"refused the {name[standing.refused_on]} one, the {name[standing.login_on]} has its turn"
    if record.login_since is None:
        return f"rotated: not seen since, the {name[standing.login_on]} one is sent first"
    return f"on {name[standing.login_on]} since {output.in_words(record.login_since)}"


def _next(record: DeviceRecord) -> str | None:
    """Of a login that is shared, what mends it for all that use it."""
    code = record.blocked_code or _login_lost(record) or (LoginSuspended.code if record.login_suspended else None)
    standing = record.standing
    if code is None and record.login_rotates and standing.refused_on is not None and not standing.refused_both:
        return its_turn(Turn(standing.login_on, _due(record)))
    by_key, taken = record.method == "key", record.login_taken
    code = code or _doubt(record)
    return to_do(next_step(code, record.name, _shared(record), by_key=by_key, taken=taken), code) or None


def _shared(record: DeviceRecord) -> str | None:
    profile = record.effective.get("profile")
    return None if profile is None or profile[0] == OWN_LOGIN else str(profile[0])


def _login_lost(record: DeviceRecord) -> str | None:
    return KEYS_LOST if record.login_lost else None


def _given_up(record: DeviceRecord) -> str | None:
    if record.keys_given_up_at is None:
        return None
    return f"snapshots up to {record.unreadable_to_seq}: {output.given_up(record.keys_given_up_at)}"


def _doubt(record: DeviceRecord) -> str | None:
    return ExportSuspect.code if record.in_doubt and not record.believes else None


def _what_it_says(facts: Mapping[str, Any]) -> tuple[_Row, ...]:
    return (
        *((name.replace("_", " "), output.told(facts.get(name))) for name in _NAMES),
        ("secrets", _SECRETS.get(facts.get("secrets", ""))),
        ("not exported", output.told("; ".join(facts.get("markers") or ()), LONGEST_DETAIL) or None),
    )


def _how_it_is_known(record: DeviceRecord) -> tuple[_Row, ...]:
    pinned = record.pinned
    return (
        ("host key", f"{pinned.key.key_type} {pinned.key.fingerprint}" if pinned else None),
        ("no SHA-1 since", record.modern_ssh_at),
        ("trusted", (pinned and key_view.how_trusted(pinned)) or None),
        ("expected", ", ".join(key.fingerprint for key in record.expected) or None),
        ("id", str(record.device_id)),
    )


def _last(last: LastCollection | None, now: datetime) -> str | None:
    if last is None:
        return None
    said = f"{last.state}{f', {last.code}' if last.code else ''}, {output.span(now - last.at)} ago"
    if last.detail and last.state is not State.BLOCKED:  # then it stands above already
        said += f": {output.told(last.detail, LONGEST_DETAIL)}"
    return said
