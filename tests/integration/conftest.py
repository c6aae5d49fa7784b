"""What the tests of commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import Scene

if TYPE_CHECKING:
    from tests.conftest import Install


@pytest.fixture
def scene(install: Install, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Scene:
    """Set an install up whose commands run in this process; nothing of the machine's own is found."""
    for name in ("REDIS_URL", "NATS_URL", "BACKUPFLOW_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in install.environment.items():
        monkeypatch.setenv(name, value)
    return Scene(install, monkeypatch, capfdbinary)
