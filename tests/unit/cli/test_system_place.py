"""From where a backup of the system takes what lies outside of the servers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.system_place import seal_in_use, settings_in_use
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.wiring import Wiring


def test_an_install_that_was_not_meant_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that the environment names have their own key, whatever runs on the usual folder; unless it is named."""
    other, logins = tmp_path / "backupflow", tmp_path / "logins"
    (other / "run").mkdir(parents=True)
    logins.mkdir()
    (tmp_path / "other.key").write_bytes(b"o" * 32)
    (logins / "seal.key").write_bytes(b"r" * 32)
    stanza = {"seal": {"static": {"current_key": f"file://{tmp_path / 'other.key'}"}}}
    (other / "run" / "openbao.json").write_text(json.dumps(stanza))
    (other / "run" / "settings.json").write_text('{"CONFIG_ITS": "own"}')
    monkeypatch.setattr("backupflow.embedded.default_folder", lambda: other)
    found: Wiring = SimpleNamespace(settings=SimpleNamespace(servers=SimpleNamespace(secrets_dir=logins)))  # type: ignore[assignment]
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert seal_in_use(None, found, None).key == b"o" * 32
    assert "CONFIG_ITS" in settings_in_use(None)
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/backupflow")
    assert seal_in_use(None, found, None).key == b"r" * 32
    assert "CONFIG_ITS" not in settings_in_use(None)
    assert seal_in_use(other, found, None).key == b"o" * 32
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        seal_in_use(None, found, tmp_path / "none.key")
