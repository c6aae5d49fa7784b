"""`backupflow check`: the verdict as a monitoring plugin says it, for Nagios, Icinga, Checkmk and their kin.

By the Monitoring Plugins Development Guidelines (https://www.monitoring-plugins.org/doc/guidelines.html, sections
"Plugin Output for Nagios", "Plugin Return Codes" and "Performance data"): one line on stdout, exit code 0, 1, 2 or 3,
behind a bar `label=value[UOM];[warn];[crit];[min];[max]`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from backupflow.cli import output
from backupflow.cli.options import InTenant
from backupflow.cli.session import wiring
from backupflow.cli.verdict_line import counts, verdict_line
from backupflow.core.verdict import (
    CRITICAL_ABOVE,
    WARN_ABOVE,
    Count,
    Limits,
    counted_as,
    judge,
    judge_one,
    judge_part,
)
from backupflow.errors import BackupflowError, InputInvalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from backupflow.core.model import TenantId
    from backupflow.core.overview import DeviceState, Overview
    from backupflow.core.verdict import Tally, Verdict

UNKNOWN = 3  # exit code: it cannot tell
SERVICE = "BACKUPFLOW"
ALL = 100.0
_overdue: list[float] = []  # seconds that were waited in vain


class Plugin(TyperCommand):
    """Whatever happens ends in one line on stdout, and a word that a monitoring system understands."""

    def make_context(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - typer's own types are not public
        """Read the command line; one that is not understood is UNKNOWN too: 2, its usual code, is CRITICAL here."""
        try:
            return super().make_context(*args, **options)
        except typer.Exit:  # --help
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it ends in one line
            told = getattr(exc, "format_message", None)  # of typer's own, with the option that is meant
            _unknown(told() if told else str(exc))

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as above
        """Run it."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, it ends in one line
            if _overdue:  # whatever a read that was broken off made of it
                _unknown(f"no answer within {_overdue.pop():g} s")
            _unknown(str(exc) if isinstance(exc, BackupflowError) else f"unexpected: {type(exc).__name__}")


def check(
    tenant: InTenant = "default",
    *,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="Only this device.", show_default=False)] = None,
    site: Annotated[str | None, typer.Option(metavar="NAME", help="Only devices at this site.")] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Only devices of this group.")] = None,
    warning: Annotated[
        float,
        typer.Option("-w", "--warning", min=0, max=ALL, metavar="PERCENT", help="WARNING if more are not fresh."),
    ] = WARN_ABOVE,
    critical: Annotated[
        float,
        typer.Option("-c", "--critical", min=0, max=ALL, metavar="PERCENT", help="CRITICAL if more are not fresh."),
    ] = CRITICAL_ABOVE,
    timeout: Annotated[
        float, typer.Option("-t", "--timeout", min=1, metavar="SECONDS", help="UNKNOWN after so long.")
    ] = 10,
) -> None:
    """Say the same as `status` as a plugin of Nagios does.

    One line with performance data behind a bar, and an exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3
    UNKNOWN. Of a site or a group, only its devices are judged; of a device: WARNING as long as what
    there is of it is fresh, then CRITICAL.

    \b
    Examples:
      backupflow check
      backupflow check --site north -w 5 -c 20
      backupflow check --device core-1
    """  # noqa: D301 - \b keeps the lines of the examples
    if sum(part is not None for part in (device, site, group)) > 1:
        raise InputInvalid("one of --device, --site and --group")
    _give_up_after(timeout)
    tenant_id = wiring().devices("reader").tenant(tenant)
    if device is not None:
        _check_device(tenant_id, device)
    limits = Limits(warning, critical)
    if site is None and group is None:
        overview = wiring().statuses.overview(tenant_id)
        verdict = judge(overview, limits)
        _say(verdict.level.name, verdict_line(verdict, overview).removeprefix(verdict.level.name), verdict, limits)
    overview = wiring().statuses.overview(tenant_id, only=wiring().devices("reader").within(tenant_id, group, site))
    verdict = judge_part(overview, limits)
    _say(verdict.level.name, _part_line(verdict, overview), verdict, limits)


def _check_device(tenant_id: TenantId, name: str) -> NoReturn:
    found = wiring().devices("reader").find(tenant_id, name)
    overview = wiring().statuses.overview(tenant_id, only=[found.device_id])
    if not overview.devices:
        raise NotFound(f"device {name}")
    device = overview.devices[0]
    level, age = judge_one(device, overview.now), ""
    if device.current_at is not None:
        limit = (device.interval + device.tolerance).total_seconds()
        age = f"age={(overview.now - device.current_at).total_seconds():.0f}s;;{limit:.0f};0"
    _end(level.name, _device_line(device, overview), [age] if age else [], level)


def _device_line(device: DeviceState, overview: Overview) -> str:
    what = counted_as(device, overview.now)
    newest = f"newest {output.span(overview.now - device.current_at)} ago" if device.current_at else "nothing stored"
    return ", ".join(filter(None, (f"{device.name} {what}", _why(device, what), newest)))


def _why(device: DeviceState, what: Count) -> str | None:
    if what is Count.PAUSED and device.paused_reason:
        return output.told(device.paused_reason, output.LONGEST_DETAIL)
    if what is Count.HELD and device.hold_until is not None:
        return f"nobody comes by himself before {output.in_words(device.hold_until)}: its firewall might ban us"
    if what is Count.UNREADABLE:
        return "nobody can open its newest configuration"
    return device.blocked_code or (device.last.code if device.last and what is not Count.FRESH else None)


def _part_line(verdict: Verdict, overview: Overview) -> str:
    reasons = ", ".join(reason.says for reason in verdict.reasons)
    return " · ".join([*([reasons] if reasons else []), *counts(verdict, overview)])


def _say(word: str, says: str, verdict: Verdict, limits: Limits) -> NoReturn:
    _end(word, says, list(_figures(verdict.tally, limits)), verdict.level)


def _figures(tally: Tally, limits: Limits) -> Iterator[str]:
    """Labels stay what they are, and differ in their first 19 characters."""
    for what in Count:
        yield f"{what.name.lower()}={tally[what]};;;0;{tally.total}"
    yield f"not_fresh={tally.missing:.2f}%;{limits.warn:g};{limits.critical:g};0;100"


def _give_up_after(seconds: float) -> None:
    """Whoever asked waits for one line; what kills a plugin that hangs says less than it could."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        _overdue.append(seconds)
        raise TimeoutError

    _overdue.clear()
    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _unknown(says: str) -> NoReturn:
    _end("UNKNOWN", says, [], UNKNOWN)


def _end(word: str, says: str, figures: list[str], code: int) -> NoReturn:
    """A name may hold anything: no bar and no line of its own gets into the line."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    text = " ".join(output.visible(says.strip(" :")).replace("|", "/").replace(" · ", ", ").split())
    output.say(f"{SERVICE} {word} - {text or 'no more is known'}" + (f" | {' '.join(figures)}" if figures else ""))
    raise typer.Exit(code)
