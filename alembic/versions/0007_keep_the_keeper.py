"""Keep the keeper: which backups of the system were made, and who can open the escrow.

Both are told of only: what was written lies outside of the database, and stays where it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

REFUSE = """
    DO $$ BEGIN IF EXISTS (SELECT 1 FROM escrow) THEN
        RAISE EXCEPTION 'the version before writes no escrow: `escrow disable` first, or restore the backup of then';
    END IF; END $$"""
GRANTS = (
    "GRANT SELECT ON system_backup, escrow TO backupflow_reader",
    "GRANT SELECT ON system_backup, escrow TO backupflow_scheduler",
    # Of two logins the other one may have its turn: how a device is counted (core.verdict) depends on it.
    "GRANT SELECT (next_changed_at) ON credential_profile TO backupflow_scheduler",
    # A new device's phase begins with its first run, also if that was asked for before its turn.
    "GRANT UPDATE (anchor_at) ON device TO backupflow_scheduler",
    # Only the migrator writes it: whoever has another login must not end the warning that there is none.
    "GRANT SELECT ON system_backup TO backupflow_operator",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON escrow TO backupflow_operator",
)


def _at(name: str, *, needed: bool = False, comment: str | None = None) -> sa.Column[object]:
    now = sa.text("now()") if needed else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=not needed, comment=comment)


def upgrade() -> None:
    op.create_table(
        "system_backup",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _at("made_at", needed=True),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False, comment="of the schema"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_system_backup")),
    )
    op.create_table(
        "escrow",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("recipients", postgresql.ARRAY(sa.Text()), nullable=False, comment="public keys of age"),
        sa.Column("folder", sa.Text(), nullable=True, comment="none: CONFIG_ESCROW_DIR"),
        sa.Column("enabled_by", sa.Text(), nullable=False),
        _at("enabled_at", needed=True),
        _at("filed_at", comment="the newest file, whole or not"),
        _at("written_at", comment="the newest whole file"),
        _at("asked_at", comment="it is to be written though it is not due"),
        sa.Column("devices", sa.Integer(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("cardinality(recipients) > 0", name=op.f("ck_escrow_recipients")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenant.id"], name=op.f("fk_escrow_tenant_id_tenant"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_escrow")),
    )
    op.execute("INSERT INTO job (name, every) VALUES ('escrow', interval '1 day')")
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute(REFUSE)
    op.execute("REVOKE UPDATE (anchor_at) ON device FROM backupflow_scheduler")
    op.execute("REVOKE SELECT (next_changed_at) ON credential_profile FROM backupflow_scheduler")
    op.execute("DELETE FROM job WHERE name = 'escrow'")
    op.drop_table("escrow")
    op.drop_table("system_backup")
