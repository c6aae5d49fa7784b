"""What an operator reads of a setting that is wrong."""

from __future__ import annotations

import pytest

from backupflow import cli
from backupflow.cli import output
from backupflow.errors import SettingsInvalid
from backupflow.settings import GROUPS, Settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CONFIG_METRICS_LISTEN", "foo", "not host:port, such as 127.0.0.1:9200"),
        ("FLOWER_WRITE", "maybe", "must be 1 or 0"),
        ("CONFIG_BACKUP_MAX_CONCURRENT", "many", "must be a whole number"),
        ("CONFIG_BACKUP_MAX_CONCURRENT", "0", "must be at least 1"),
        ("CONFIG_VERIFY_SAMPLE", "all", "must be a number"),
        ("CONFIG_BACKUP_INTERVAL", "often", "must be a number of seconds, such as 90"),
        ("CONFIG_BACKUP_INTERVAL", "1e99", "must be a number of seconds, such as 90"),
        ("CONFIG_BACKUP_INTERVAL", "0", "must be more than 0 seconds"),
        ("CONFIG_JUMP_HOST_RETRY", "7200", "must be at most 1 hour"),
        ("CONFIG_BACKUP_SECRETS", "some", "must be 'collect' or 'omit'"),
        ("CONFIG_LOG_FORMAT", "xml", "must be 'json' or 'console'"),
        ("CONFIG_SERVERS_CA", "ca.pem", "must be a whole path, from /"),
    ],
)
def test_a_wrong_setting_is_told_by_what_is_wanted(name: str, value: str, says: str) -> None:
    """In words for who runs it, not in those of the library that reads it; its value may be somebody's secret."""
    with pytest.raises(SettingsInvalid) as found:
        Settings({name: value})
    assert found.value.detail == f"{name}: {says}"


@pytest.mark.parametrize("value", ["x", "-1", "1e99", "inf", "nan", "1.5", "9" * 30])
def test_no_setting_ends_in_anything_else_than_its_own_line(value: str) -> None:
    """No traceback, and nothing of pydantic's, whichever of them it is."""
    told = []
    for name in [str(field.validation_alias.choices[0]) for group in GROUPS for field in group.model_fields.values()]:  # type: ignore[union-attr]
        try:
            Settings({name: value})
        except SettingsInvalid as exc:
            told.append(exc.detail)
    assert told
    assert not [says for says in told if "nput should" in says or "Value error" in says]


def test_what_keeps_a_process_from_starting_names_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the line in a journal finds what to do."""
    told: list[str] = []
    monkeypatch.setattr(output, "note", told.append)
    monkeypatch.setenv("FLOWER_WRITE", "maybe")
    with pytest.raises(SystemExit) as ended:
        cli.main(["process", "beat"])
    assert ended.value.code == 78
    assert told[0].endswith("(FLOWER_WRITE: must be 1 or 0) – docs/runbook/settings_invalid.md")
