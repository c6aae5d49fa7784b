"""Which errors of PostgreSQL and its client say that it is away, and which say that something of ours is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.engine import Postgres, open_engine, transaction
from backupflow.errors import BackupflowError, SchemaOutdated, StoreUnavailable

if TYPE_CHECKING:
    from tests.integration.db.fleet import Fleet


def failure(fleet: Fleet, statement: str, **values: Any) -> Exception:  # noqa: ANN401 - whatever a statement takes
    """What a statement ends in."""
    with pytest.raises((DBAPIError, BackupflowError)) as caught, transaction(fleet.engine("ingester")) as tx:
        tx.execute(text(statement), values)
    return caught.value


def test_a_value_that_cannot_be_sent_is_a_defect(fleet: Fleet) -> None:
    """Taken for an absence it would be tried again for ever, and its batch with it."""
    found = failure(fleet, "SELECT CAST(:value AS text)", value="a\0b")
    assert isinstance(found, DBAPIError), found


@pytest.mark.parametrize("statement", ["SELECT nothing", "SELECT 1/0", "SELEC"])
def test_what_the_server_refuses_for_good_is_a_defect(fleet: Fleet, statement: str) -> None:
    """A wrong statement does not get right by waiting."""
    assert isinstance(failure(fleet, statement), DBAPIError)


def test_a_missing_table_is_an_outdated_schema(fleet: Fleet) -> None:
    """Another version made the database."""
    assert isinstance(failure(fleet, "SELECT 1 FROM not_there"), SchemaOutdated)


def test_a_session_that_was_ended_is_an_absence(fleet: Fleet) -> None:
    """By an operator, by a time-out or by a restart."""
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    assert isinstance(failure(fleet, end), StoreUnavailable)
    assert isinstance(failure(fleet, "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)"), StoreUnavailable)


def test_nobody_at_the_address_is_an_absence() -> None:
    """No SQLSTATE comes from where there is no server."""
    engine = open_engine(Postgres("postgresql://127.0.0.1:1/x", "reader", "p"))
    with pytest.raises(StoreUnavailable), transaction(engine):
        pass


def test_a_statement_that_fails_does_not_show_its_values(fleet: Fleet) -> None:
    """A failure may be logged; what was to be written is nobody's business there (I5)."""
    found = failure(fleet, "SELECT CAST(:value AS text), 1/0", value="a planted marker")
    assert "a planted marker" not in str(found)
