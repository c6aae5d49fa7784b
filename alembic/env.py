"""Runs migrations on the connection that backupflow.wiring hands over: addresses and logins never come from a file."""

from __future__ import annotations

from alembic import context

from backupflow.adapters.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, compare_type=True, compare_server_default=False)
with context.begin_transaction():
    context.run_migrations()
