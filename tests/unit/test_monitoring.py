"""Rules and dashboard against the metrics of this version: a rule with a name that there is not never fires."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from backupflow.cli import app
from backupflow.cli.processes import processes
from backupflow.core.claiming import LANES
from backupflow.core.verdict import Count, Level
from tools.dashboard import dashboard
from tools.generate_docs import command_lines
from tools.metrics_page import every_metric

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy/prometheus/alerts.yml"
OF_TARGETS: Final = {"job", "instance", "process"}  # that Prometheus adds
_NAME: Final = re.compile(r"(?<![\w:$\"~|=])((?:backupflow|config_backup|process|python)_\w+|up)(\{[^}]*\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class Named:
    """A metric with the labels that it may have."""

    labels: frozenset[str]


@cache
def known() -> dict[str, Named]:
    """Every series that may be told, by its name; of a histogram its three."""
    made = {"up": Named(frozenset(OF_TARGETS))}
    for line in every_metric():
        labels = frozenset({*line.labels, *OF_TARGETS})
        names = [line.name]
        if line.kind == "histogram":
            names = [f"{line.name}_{part}" for part in ("bucket", "sum", "count")]
        made |= {name: Named(labels | ({"le"} if name.endswith("_bucket") else set())) for name in names}
    return made


def rules() -> list[dict[str, Any]]:
    """All rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def asked() -> dict[str, str]:
    """All that is asked of Prometheus, by where."""
    made = {rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        made |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", ())}
    return made


def panels() -> list[dict[str, Any]]:
    """All panels, those of closed rows too."""
    top = json.loads((ROOT / "deploy/grafana/backupflow.json").read_text(encoding="utf-8"))["panels"]
    return [panel for one in top for panel in (one, *one.get("panels", ()))]


@pytest.mark.parametrize(("where", "asks"), asked().items(), ids=asked().keys())
def test_what_is_asked_exists_with_these_labels(where: str, asks: str) -> None:
    """Prometheus gives nothing for a name or a label that there is not, and says nothing about it."""
    found = [(name, dict(_MATCHER.findall(matchers))) for name, matchers in _NAME.findall(asks)]
    assert found, where
    for name, matchers in found:
        assert name in known(), name
        assert set(matchers) <= known()[name].labels, (name, matchers)
    grouped = {label.strip() for labels in _GROUPED.findall(asks) for label in labels.split(",")} - {""}
    assert grouped <= frozenset().union(*(known()[name].labels for name, _ in found))


def test_values_of_labels_are_those_that_are_told() -> None:
    """A state, a level or a kind that is spelled otherwise matches nothing."""
    values = {
        "state": {*(what.name.lower() for what in Count), "refused", "suspended"},
        "level": {level.name.lower() for level in Level},
        "kind": {"scheduler", "collector", "ingester", "operator"},
        "lane": {lane.value for lane in LANES},
        "status": {"success"},
        "job": {"backupflow"},
    }
    for where, asks in asked().items():
        for label, value in _MATCHER.findall(asks):
            if label in values:
                assert set(value.split("|")) <= values[label], (where, label, value)


@pytest.mark.parametrize("page", ["docs/health.md", "deploy/prometheus/prometheus.yml"])
def test_the_ports_that_prometheus_is_told_are_those_that_up_takes(page: str) -> None:
    """One after the other, in the order of starting, those that have a heart: a port less and a name is another's."""
    told = re.findall(
        r'targets: \["127.0.0.1:(\d+)"\], labels: \{process: ([a-z-]+)\}', (ROOT / page).read_text("utf-8")
    )
    names = [process.name for process in processes(10, status=False, flower=True) if process.heart]
    assert told == [(str(9200 + number), name) for number, name in enumerate(names)]


def test_codes_in_rules_are_those_of_pages() -> None:
    """The code of an alarm is the name of its page."""
    pages = {path.stem for path in (ROOT / "docs/runbook").glob("*.md")}
    codes = {code for asks in asked().values() for label, value in _MATCHER.findall(asks) if label == "code"
             for code in value.split("|")} - {""}  # fmt: skip
    assert codes
    assert codes <= pages


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_rule_says_what_to_do_in_a_line_and_names_a_page(rule: dict[str, Any]) -> None:
    """Whoever is called at night needs a first step, and where the rest of them stand."""
    said = rule["annotations"]
    assert said.keys() == {"summary", "action", "runbook"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "\n" not in said["action"] + said["summary"]
    page = said["runbook"]
    assert page == "docs/runbook/{{ $labels.code }}.md" or (ROOT / page).is_file()
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(said)))
    kept = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", rule["expr"]) for label in labels.split(",")}
    assert used <= (kept or OF_TARGETS), "a label that the expression does not keep is empty"


def test_commands_that_rules_name_are_commands() -> None:
    """What is typed at night is not looked up first."""
    there = {" ".join(words) for words in command_lines(typer.main.get_command(app))}
    for rule in rules():
        for command in re.findall(r"`backupflow ([a-z -]+?)(?: [A-Z-].*?)?`", rule["annotations"]["action"]):
            assert command in there, (rule["alert"], command)


def test_each_rule_is_tried_by_promtool() -> None:
    """deploy/prometheus/alerts_test.yml has a case in which it fires; `make monitoring` runs them."""
    tests = (ROOT / "deploy/prometheus/alerts_test.yml").read_text(encoding="utf-8")
    fired = set(re.findall(r'ALERTS\{alertname="(\w+)", alertstate="firing"[^}]*\}\', value: 1', tests))
    assert fired == {rule["alert"] for rule in rules()}


def test_the_dashboard_is_the_one_of_the_code() -> None:
    """`make docs` writes it; no panel lies upon another, each has a number of its own."""
    assert (ROOT / "deploy/grafana/backupflow.json").read_text(encoding="utf-8") == dashboard()
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        mine = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        if not any(panel in row.get("panels", ()) for row in panels()):
            assert not taken & mine, panel["title"]
            taken |= mine


def test_no_label_takes_the_place_of_one_of_prometheus() -> None:
    """A label `job` or `instance` of ours would be renamed at each scrape, and no rule would find it."""
    assert [line.name for line in every_metric() if {"job", "instance", "process"} & set(line.labels)] == []


def test_names_follow_the_field() -> None:
    """A base unit at the end, `_total` for counters alone: what `promtool check metrics` would say."""
    for line in every_metric():
        assert line.name.endswith("_total") == (line.kind == "counter"), line
        assert not re.search(r"_(ms|millis|minutes|hours|days|kb|mb|percent|ago)(_|$)", line.name), line
        assert line.says.endswith((".", "…")), line
