"""The names of all metrics keep to the rules of the field, and those that others know to theirs."""

from __future__ import annotations

import re

from prometheus_client import Counter, Gauge, Histogram

from backupflow.telemetry import metrics

KNOWN = {"config_backup", "config_backup_duration_seconds", "config_backup_active"}
STAGES = "process|collect|ingest|interpret|schedule|maintain|tell"
LABELS = {"status", "outcome", "code", "kind", "result", "queue", "loop", "name", "task", "answered", "version", "role"}


def counted() -> list[Counter | Gauge | Histogram]:
    """All objects that doors count into."""
    return [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram)]


def test_each_name_says_whose_it_is_and_of_which_stage() -> None:
    """https://prometheus.io/docs/practices/naming/; a histogram says its unit."""
    for one in counted():
        name = one._name
        assert name in KNOWN or re.fullmatch(rf"backupflow_({STAGES})_[a-z_]+", name), name
        assert not isinstance(one, Histogram) or name.endswith("_duration_seconds"), name
        assert one._documentation.endswith("."), name
    assert {one._name for one in counted()} >= KNOWN


def test_no_label_takes_what_a_router_or_a_person_says() -> None:
    """A label for each device, address or text would be a series for each: only words of ours are."""
    assert {label for one in counted() for label in one._labelnames} <= LABELS
