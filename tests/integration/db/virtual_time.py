"""Hours that pass in a moment: PostgreSQL's time of day, set ahead for every role of one database.

`now()` and `clock_timestamp()` are looked up in a schema of the test before PostgreSQL's own, and the columns that have
them as a default are made anew. All that backupflow knows of the time comes from there; what a process measures by
itself, such as the deadline of a session, goes on in real time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from tests.integration.db.fleet import Fleet

_MADE = """
    CREATE SCHEMA IF NOT EXISTS virtual;
    GRANT USAGE ON SCHEMA virtual TO PUBLIC;
    CREATE TABLE IF NOT EXISTS virtual.ahead (by interval NOT NULL);
    GRANT SELECT ON virtual.ahead TO PUBLIC;
    TRUNCATE virtual.ahead;
    INSERT INTO virtual.ahead VALUES (interval '0');
    CREATE OR REPLACE FUNCTION virtual.now() RETURNS timestamptz LANGUAGE sql STABLE AS
        $$ SELECT pg_catalog.now() + (SELECT by FROM virtual.ahead) $$;
    CREATE OR REPLACE FUNCTION virtual.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        $$ SELECT pg_catalog.clock_timestamp() + (SELECT by FROM virtual.ahead) $$
"""
_DEFAULTS = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND column_default = 'now()'"""


class VirtualTime:
    """The time of a fleet's database. Make it before anything else is done there; it holds for that database for good.

    `forward` sets it ahead; `now` is what `SELECT now()` gives to every role.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        database = fleet.value("SELECT current_database()")
        with fleet.admin.begin() as tx:
            for statement in _MADE.split(";\n"):
                tx.execute(text(statement))
            for row in tx.execute(text(_DEFAULTS)).all():
                tx.execute(
                    text(f'ALTER TABLE {row.table_name} ALTER COLUMN "{row.column_name}" SET DEFAULT virtual.now()')
                )
            tx.execute(text(f'ALTER DATABASE "{database}" SET search_path = virtual, pg_catalog, public'))
        fleet.close()  # the sessions that are open still have the path of before

    @property
    def now(self) -> datetime:
        """What every role is told."""
        told: datetime = self._fleet.value("SELECT virtual.now()")
        return told

    def forward(self, by: timedelta) -> datetime:
        """Let so much time pass; the time then."""
        self._fleet.sql("UPDATE virtual.ahead SET by = by + :by", by=by)
        return self.now
