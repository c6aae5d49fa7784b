"""A fleet in one migrated database for all these tests, emptied before each: a copy each takes ten times as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.db.fleet import Fleet, migrated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers


@pytest.fixture(scope="session")
def ledger(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """Migrate a database of its own."""
    with migrated(servers, postgres_roles) as made:
        yield made


@pytest.fixture
def fleet(ledger: Fleet) -> Fleet:
    """Start with an empty ledger."""
    ledger.empty()
    return ledger
