"""Tells whether a database has the schema of this version.

Every process asks that when it starts, and needs nothing of alembic for it: that would cost each a sixth of the time
that a start takes, and some 10 MB for as long as it lives.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import text

from backupflow.adapters.db.engine import translated
from backupflow.errors import SchemaOutdated

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine

_SAID = re.compile(r'^(revision|down_revision) = (?:"(\w+)"|None)$', re.MULTILINE)
_IS_THERE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_REVISION = text("SELECT version_num FROM alembic_version")


def newest(scripts: Path) -> str:
    """The revision that no other follows; ValueError if the migrations are no line."""
    said = [dict(_SAID.findall(file.read_text("utf-8"))) for file in (scripts / "versions").glob("*.py")]
    (last,) = {one["revision"] for one in said} - {one["down_revision"] for one in said}
    return str(last)


def require_current(engine: Engine, scripts: Path) -> str:
    """The revision of the database; SchemaOutdated if this version was written for another."""
    wanted = newest(scripts)
    with translated(), engine.connect() as connection:
        there = connection.scalar(_REVISION) if connection.scalar(_IS_THERE) else None
    if there != wanted:
        raise SchemaOutdated(f"database {there or 'empty'}, needed {wanted}")
    return str(there)
