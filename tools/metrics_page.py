"""docs/metrics.md: every metric with its kind, its labels and what it says, from telemetry.metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics import MetricWrapperBase

from backupflow.telemetry import metrics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_STAGES: Final = {
    "config_backup": "Backups, by the names that other systems know",
    "backupflow_fleet": "The whole install",
    "backupflow_collect": "collect",
    "backupflow_ingest": "ingest",
    "backupflow_interpret": "interpret",
    "backupflow_schedule": "schedule",
    "backupflow_maintain": "maintain",
    "backupflow_tell": "tell",
    "backupflow_device": "Single devices",
    "backupflow_process": "Every process",
    "process": "Every process, as the system counts it",
}
_SAYS: Final = {
    "backupflow_fleet": "From every beat, and the same from each: ask with `max by (…)`.",
    "backupflow_device": "From beat, only with CONFIG_METRICS_DEVICES=1.",
}
_FOREWORD: Final = """# Metrics

Every process answers `/metrics` for Prometheus on the address of its `CONFIG_METRICS_LISTEN`. Under `backupflow up`
each has a free port on loopback, or one of a row that is [set](health.md#where-to-ask), which a Prometheus of another
user needs. In the composed install it is port 9108 of each container, inside its networks only. `/live` and `/ready` on
the same address answer the probes of systemd, compose and Kubernetes.

- [deploy/prometheus/prometheus.yml](../deploy/prometheus/prometheus.yml) says how the processes are found.
- [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml) calls somebody: each rule says in one line what to do,
  and names a page of the [runbook](runbook/index.md). It follows the verdict of [`backupflow status`](status.md): no
  single router is in it.
- [deploy/grafana/backupflow.json](../deploy/grafana/backupflow.json) is a dashboard to be imported into Grafana.

Labels take few values, all of them ours; neither a router nor a person can make a new one, but for the three labels of
single devices. Times are seconds, sizes are bytes. A counter begins at 0 with its process.

## Where figures of the whole install come from

Each beat asks PostgreSQL every 15 seconds, in a thread of its own, for all figures of one moment, and NATS how full the
stream is. A scrape gets what was gathered last, and asks nobody. Where PostgreSQL does not answer, figures are told for
up to 60 seconds and then left out: `backupflow_fleet_figures_age_seconds` grows, `backupflow_fleet_figures_failed` says
why. What is unknown has no series: without a backup of the system there is no
`backupflow_maintain_system_backup_age_seconds`.

Measured with `python -m bench.gauges` on two shared cores, for 20,000 devices with 800,000 collections behind them:
gathering takes 0.22 s of a processor in PostgreSQL and 0.01 s in beat, 1.5 % of one core in all; a scrape takes 0.2 ms.
With every device by its name (60,000 series, 6.2 MB) gathering takes 0.6 s in PostgreSQL and 1 s in beat.
"""


@dataclass(frozen=True)
class Line:
    """One metric as it is told."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str


def metrics_page() -> str:
    """The whole page, without the note of where it comes from."""
    page = [_FOREWORD]
    lines = every_metric()
    for prefix, title in _STAGES.items():
        mine = [line for line in lines if _stage(line.name) == prefix]
        page += [f"## {title}", "", *([_SAYS[prefix], ""] if prefix in _SAYS else [])]
        page += ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
        page += [f"| `{one.name}` | {one.kind} | {_labels(one)} | {one.says} |" for one in mine]
        page.append("")
    return "\n".join(page)


def every_metric() -> list[Line]:
    """All that may stand in an answer to a scrape, in the order of their definition."""
    made: list[Line] = []
    for one in vars(metrics).values():
        if isinstance(one, MetricWrapperBase):
            found: Metric = next(iter(one.describe()))
            made.append(Line(_name(found), found.type, tuple(one._labelnames), found.documentation))  # noqa: SLF001
    made += [Line(one.name, "gauge", one.labels, one.says) for one in metrics.FLEET]
    named = {line.name for line in made}
    others = [(_name(family), family) for family in metrics.REGISTRY.collect()]
    return made + [Line(name, one.type, (), one.documentation) for name, one in others if name not in named]


def _name(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


def _stage(name: str) -> str:
    return max((prefix for prefix in _STAGES if name.startswith(prefix)), key=len)


def _labels(line: Line) -> str:
    return ", ".join(f"`{label}`" for label in line.labels) or "–"
