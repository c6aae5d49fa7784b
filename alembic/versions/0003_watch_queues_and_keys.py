"""Ask every queue whether somebody listens, remember what was verified, and let keys be rotated and renewed.

Rows from before keep all that they had: what was never verified comes first, and nothing of it is unreadable.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WORKERS = ("collector", "ingester", "interpreter", "operator")
GRANTS = (
    "GRANT SELECT, INSERT, UPDATE ON queue_canary TO backupflow_scheduler",
    *(f"GRANT SELECT, UPDATE (answered_at) ON queue_canary TO backupflow_{role}" for role in WORKERS),
    "GRANT SELECT ON queue_canary TO backupflow_reader",
    # The ingester takes up again what an operator released, by its own rules, and drops what is stored then.
    "GRANT UPDATE (reason, released_at), DELETE ON quarantine TO backupflow_ingester",
    "GRANT UPDATE (released_at, released_by) ON quarantine TO backupflow_operator",
    "GRANT UPDATE (verified_at) ON content TO backupflow_operator",
    # Rewrapping moves a ciphertext to another key version; the operator's vault login can open none of them.
    "GRANT SELECT (sealed), UPDATE (sealed) ON credential_profile TO backupflow_operator",
    "GRANT UPDATE (sealed, verified_at) ON aside TO backupflow_operator",
    "GRANT SELECT (suspended_reason) ON credential_profile TO backupflow_scheduler",
)


def upgrade() -> None:
    op.create_table(
        "queue_canary",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("emitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_canary")),
    )
    op.add_column(
        "process",
        sa.Column(
            "queues",
            postgresql.JSONB(),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
            comment="that it takes tasks from",
        ),
    )
    op.add_column("process", sa.Column("worked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "device",
        sa.Column(
            "unreadable_to_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="what was sealed up to this one was given up with the keys that it was sealed with",
        ),
    )
    op.add_column(
        "device",
        sa.Column(
            "unhashed_to_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="the hashes up to this one are under a pepper that was given up: they say nothing any more",
        ),
    )
    op.alter_column("transit_key", "mark", comment="canary: HMAC of a fixed text under one of its versions")
    op.add_column(
        "transit_key",
        sa.Column("marked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column(
        "transit_key",
        sa.Column(
            "oldest_version",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="what is sealed under an older one is not taken in any more",
        ),
    )
    for table in ("content", "aside"):
        op.add_column(table, sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_content_verified", "content", [sa.text("verified_at NULLS FIRST"), "id"])
    op.add_column("device", sa.Column("history_verified_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "job", sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    op.add_column(
        "quarantine", sa.Column("device_id", sa.Uuid(), nullable=True, comment="as the message claims, like its tenant")
    )
    op.add_column("quarantine", sa.Column("released_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("quarantine", sa.Column("released_by", sa.Text(), nullable=True))
    op.create_index("ix_quarantine_released", "quarantine", ["id"], postgresql_where=sa.text("released_at IS NOT NULL"))
    op.execute("INSERT INTO job (name, every) VALUES ('verify', interval '1 day')")
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DELETE FROM job WHERE name = 'verify'")
    op.execute("REVOKE UPDATE (reason, released_at), DELETE ON quarantine FROM backupflow_ingester")
    op.execute("REVOKE SELECT (sealed), UPDATE (sealed) ON credential_profile FROM backupflow_operator")
    op.execute("REVOKE UPDATE (sealed, verified_at) ON aside FROM backupflow_operator")
    op.execute("REVOKE SELECT (suspended_reason) ON credential_profile FROM backupflow_scheduler")
    op.drop_index("ix_quarantine_released", table_name="quarantine")
    for column in ("device_id", "released_at", "released_by"):
        op.drop_column("quarantine", column)
    for column in ("completed_at", "created_at"):
        op.drop_column("job", column)
    op.drop_index("ix_content_verified", table_name="content")
    for table in ("content", "aside"):
        op.drop_column(table, "verified_at")
    for column in ("unreadable_to_seq", "unhashed_to_seq", "history_verified_at"):
        op.drop_column("device", column)
    for column in ("marked_at", "oldest_version"):
        op.drop_column("transit_key", column)
    op.alter_column("transit_key", "mark", comment="canary: HMAC of a fixed text, made with the key")
    for column in ("queues", "worked_at"):
        op.drop_column("process", column)
    op.drop_table("queue_canary")
