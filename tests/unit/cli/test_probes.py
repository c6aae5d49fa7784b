"""Where the processes under `up` answer, and what Prometheus is told of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.probes import probe_addresses, tell_prometheus, told_addresses
from backupflow.embedded import open_folder
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import DataFolder

NAMES = ("ingest", "collect", "beat")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A data folder."""
    with open_folder(tmp_path / "data") as opened:
        yield opened


def test_each_process_finds_its_port_again(folder: DataFolder) -> None:
    """On loopback, each its own: Prometheus need not be told anew after a restart."""
    first = probe_addresses(folder, NAMES, "")
    assert first.keys() == set(NAMES)
    assert len(set(first.values())) == len(NAMES)
    assert {address.rpartition(":")[0] for address in first.values()} == {"127.0.0.1"}
    assert probe_addresses(folder, NAMES, "") == first


def test_one_address_is_the_first_of_a_row(folder: DataFolder) -> None:
    """Known beforehand, so that a firewall can be told."""
    found = probe_addresses(folder, NAMES, "[fd00::1]:9200")
    assert found == {"ingest": "[fd00::1]:9200", "collect": "[fd00::1]:9201", "beat": "[fd00::1]:9202"}


def test_there_may_be_none(folder: DataFolder) -> None:
    """Then nothing listens."""
    assert probe_addresses(folder, NAMES, "off") == {}


def test_a_row_must_have_an_end_that_exists(folder: DataFolder) -> None:
    """Said at the start, with the setting's name."""
    with pytest.raises(SettingsInvalid, match="CONFIG_METRICS_LISTEN"):
        probe_addresses(folder, NAMES, "127.0.0.1:65534")


def test_prometheus_is_told_of_all_in_its_own_form(folder: DataFolder) -> None:
    """https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config."""
    file = tell_prometheus(folder, {"beat": "127.0.0.1:9200"})
    assert json.loads(file.read_text()) == [{"targets": ["127.0.0.1:9200"], "labels": {"process": "beat"}}]
    assert file == folder.path / "run" / "prometheus.json"
    assert list(told_addresses(folder.path)) == [("beat", "127.0.0.1:9200")]
