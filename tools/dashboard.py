"""The Grafana dashboard: what it shows, in a form that a person can read; `make docs` writes deploy/grafana from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH: Final = 24  # of Grafana's grid
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_RED, _ORANGE, _GREEN = "red", "orange", "green"
_FRESH: Final = 'max(backupflow_fleet_devices{state="fresh"})'

_TICK: Final = (
    "histogram_quantile(0.99, sum by (le) (rate(backupflow_schedule_tick_duration_seconds_bucket[$__rate_interval])))"
)
_LATENESS: Final = (
    "max by (name) (backupflow_maintain_job_age_seconds) / max by (name) (backupflow_maintain_job_period_seconds)"
)
_DONE: Final = "3600 * sum by (name, kind) (rate(backupflow_maintain_done_total[$__rate_interval]))"
_EACH: Final = "max by (tenant, site, device"
_NOT_FRESH: Final = _EACH + ', state) (backupflow_device_state{state!~"fresh|paused|waiting|maintenance|held"})'
_OLDEST: Final = f"topk(100, time() - {_EACH}) (backupflow_device_last_backup_timestamp_seconds))"


@dataclass(frozen=True)
class Panel:
    """One picture: `asks` are PromQL and what each line is called; `steps` are colours from a value on."""

    title: str
    asks: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    wide: int = 8
    high: int = 8
    says: str = ""
    stacked: bool = False
    steps: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of panels that belong together; a closed one asks nothing until somebody opens it."""

    title: str
    panels: tuple[Panel, ...]
    closed: bool = field(default=False)


def stat(title: str, ask: str, *steps: tuple[float, str], unit: str = "short", says: str = "") -> Panel:
    """One number, green below the first step."""
    return Panel(title, ((ask, ""),), "stat", unit, wide=3, high=4, says=says, steps=steps)


def lines(title: str, *asks: tuple[str, str], unit: str = "short", stacked: bool = False, says: str = "") -> Panel:
    """Lines over time."""
    return Panel(title, asks, unit=unit, stacked=stacked, says=says)


def table(title: str, ask: str, says: str = "") -> Panel:
    """What there is at this moment."""
    return Panel(title, ((ask, ""),), "table", wide=12, says=says)


def _quantile(of: float) -> tuple[str, str]:
    asks = f"histogram_quantile({of}, sum by (le) (rate(config_backup_duration_seconds_bucket[$__rate_interval])))"
    return asks, f"{of:.0%} within"


ROWS: Final = (
    Row(
        "Is anything wrong",
        (
            stat("Not fresh", f"100 * (1 - {_FRESH} / max(backupflow_fleet_devices_expected))", (10, _ORANGE),
                 (50, _RED), unit="percent", says="Of the devices that should be: not paused, new, held …"),
            stat("Devices", "sum(max by (state) (backupflow_fleet_devices))"),
            stat("Overdue", 'max(backupflow_fleet_devices{state="overdue"})', (1, _ORANGE)),
            stat("Blocked", 'max(backupflow_fleet_devices{state="blocked"})', (1, _ORANGE)),
            stat("Critical alarms", 'sum(max by (code) (backupflow_fleet_alarms{level="critical"})) or vector(0)',
                 (1, _RED)),
            stat("Warnings", 'sum(max by (code) (backupflow_fleet_alarms{level="warning"})) or vector(0)',
                 (1, _ORANGE)),
            stat("Age of these figures", "min(backupflow_fleet_figures_age_seconds)", (30, _ORANGE), (60, _RED),
                 unit="s", says="Past a minute beat tells none any more: see PostgreSQL."),
            stat("System backup", "max(backupflow_maintain_system_backup_age_seconds)", (604800, _RED), unit="s",
                 says="None is shown while there is none."),
        ),
    ),
    Row(
        "The fleet",
        (
            lines("Devices, as status counts them", ("max by (state) (backupflow_fleet_devices)", "{{state}}"),
                  stacked=True),
            lines("Blocked, by code", ("max by (code) (backupflow_fleet_blocked)", "{{code}}"), stacked=True),
            lines("What keeps many away", ("max by (state) (backupflow_fleet_logins_waiting)", "logins {{state}}"),
                  ("max(backupflow_fleet_sites_down)", "sites down"),
                  ("max(backupflow_fleet_jump_hosts_in_trouble)", "jump hosts in trouble")),
        ),
    ),
    Row(
        "Collecting",
        (
            lines("Backups a minute", ("60 * sum by (status) (rate(config_backup_total[$__rate_interval]))",
                                       "{{status}}"), stacked=True),
            lines("What fails, by code",
                  ('60 * sum by (code) (rate(backupflow_collect_ended_total{code!=""}[$__rate_interval]))', "{{code}}"),
                  stacked=True),
            lines("How long a backup takes", _quantile(0.5), _quantile(0.95), _quantile(0.99), unit="s"),
            lines("Sessions and slots", ("sum(config_backup_active)", "active in the workers"),
                  ("max by (lane) (backupflow_collect_sessions)", "running {{lane}}"),
                  ("max by (lane) (backupflow_schedule_slots)", "slots {{lane}}"),
                  ("max(backupflow_schedule_slots_needed)", "needed on average")),
            lines("Claimed window", ("max by (lane) (backupflow_schedule_claimed)", "claimed {{lane}}"),
                  ("max by (lane) (backupflow_schedule_window)", "may be {{lane}}")),
            lines("Claims a minute", ("60 * sum by (kind) (rate(backupflow_schedule_claims_total[$__rate_interval]))",
                                      "{{kind}}"),
                  ("max by (code) (backupflow_schedule_claiming_paused)", "paused: {{code}}")),
        ),
    ),
    Row(
        "Storing, interpreting, telling",
        (
            lines("Messages a minute",
                  ("60 * sum by (outcome) (rate(backupflow_ingest_messages_total[$__rate_interval]))", "{{outcome}}"),
                  stacked=True),
            lines("The stream", ("max(backupflow_ingest_stream_bytes)", "used"),
                  ("max(backupflow_ingest_stream_room_bytes)", "room"), unit="bytes", stacked=True),
            lines("Messages in the stream", ("max(backupflow_ingest_stream_messages)", "messages"),
                  ("max(backupflow_ingest_waiting)", "read and not stored")),
            lines("How long the first one waits", ("max(backupflow_ingest_waiting_age_seconds)", "to be stored"),
                  ("max(backupflow_interpret_waiting_age_seconds)", "to be interpreted"),
                  ("max(backupflow_tell_outbox_waiting_age_seconds)", "to be told"), unit="s"),
            lines("Changes a minute",
                  ("60 * sum by (kind) (rate(backupflow_interpret_changes_total[$__rate_interval]))", "{{kind}}"),
                  ("max(backupflow_interpret_waiting)", "waiting"), stacked=True),
            lines("Events",
                  ("60 * sum by (result) (rate(backupflow_tell_events_total[$__rate_interval]))", "{{result}}/min"),
                  ("max(backupflow_tell_outbox_waiting)", "in the outbox"),
                  ("max(backupflow_tell_unsent)", "not sent")),
        ),
    ),
    Row(
        "Servers and processes",
        (
            lines("Servers, 1 is well", ("min by (server) (backupflow_fleet_server_up)", "{{server}}")),
            lines("Processes that live", ("max by (kind) (backupflow_fleet_processes)", "{{kind}}")),
            lines("Ready, by what they say themselves", ("min by (process) (backupflow_process_ready)", "{{process}}")),
            lines("Cores", ("sum by (process) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{process}}"),
                  stacked=True),
            lines("Memory", ("sum by (process) (process_resident_memory_bytes)", "{{process}}"), unit="bytes",
                  stacked=True),
            lines("A tick of beat, and gathering these figures",
                  (_TICK, "99% of the ticks"),
                  ("max(backupflow_fleet_figures_duration_seconds)", "gathering"), unit="s"),
            table("Alarms that stand", "max by (code, level) (backupflow_fleet_alarms) > 0",
                  "`backupflow alarm list` has their words; docs/runbook has a page for each code."),
            table("Heartbeats, seconds ago", "max by (kind, host, pid) (backupflow_fleet_heartbeat_age_seconds)"),
        ),
    ),
    Row(
        "Keeping",
        (
            lines("Jobs: age in periods (late from 2 on)",
                  (_LATENESS, "{{name}}")),
            lines("Done by the jobs an hour", (_DONE, "{{name}}: {{kind}}")),
            lines("Age of what is kept elsewhere", ("max(backupflow_maintain_system_backup_age_seconds)",
                                                    "backup of the system"),
                  ("max(backupflow_maintain_escrow_age_seconds)", "escrow"), unit="s"),
        ),
    ),
    Row(
        "Single devices (CONFIG_METRICS_DEVICES=1)",
        (
            table("Neither fresh nor at rest", _NOT_FRESH),
            table("Configurations by age, the oldest first, in seconds", _OLDEST),
            table("Attempts in a row that failed",
                  f"topk(100, {_EACH}) (backupflow_device_failures) > 0)"),
        ),
        closed=True,
    ),
)  # fmt: skip


def dashboard() -> str:
    """As Grafana imports it."""
    made = {
        "title": "backupflow",
        "uid": "backupflow",
        "description": "Is anything wrong with the backups of routers, and where do they wait? See docs/metrics.md.",
        "tags": ["backupflow"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}],
        },
        "panels": list(_panels()),
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in ROWS:
        inside, number_after, bottom = _placed(row, number + 1, top + 1)
        head = {"id": number, "type": "row", "title": row.title, "collapsed": row.closed,
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}, "panels": inside if row.closed else []}  # fmt: skip
        yield head
        if not row.closed:
            yield from inside
        number, top = number_after, top + 1 if row.closed else bottom


def _placed(row: Row, number: int, top: int) -> tuple[list[dict[str, Any]], int, int]:
    """The panels of a row from left to right, in as many lines as they take."""
    made, left, high = [], 0, 0
    for panel in row.panels:
        if left + panel.wide > WIDTH:
            left, top = 0, top + high
        made.append(_panel(panel, number, {"x": left, "y": top, "w": panel.wide, "h": panel.high}))
        left, high, number = left + panel.wide, panel.high, number + 1
    return made, number, top + high


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    asks = [
        {"refId": chr(ord("A") + at), "datasource": _SOURCE, "expr": ask, "instant": instant, "range": not instant}
        | ({"format": "table"} if panel.kind == "table" else {"legendFormat": called})
        for at, (ask, called) in enumerate(panel.asks)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": asks,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": _GREEN, "value": None}, *({"color": colour, "value": at} for at, colour in panel.steps)]
    made: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        made["custom"] = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 0, "stacking": stacking}
        made["min"] = 0
    return made


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"], "fields": ""}}
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"showHeader": True}
