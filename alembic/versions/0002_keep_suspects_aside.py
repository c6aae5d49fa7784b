"""Keep what can be compared of each observation, and sealed aside what may not become the current one.

Rows from before keep all that they had; they lack what a later observation is compared with.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Who opens what was kept aside does so with the reader's rights; nobody rewrites it, and only the jobs throw it away.
GRANTS = (
    "GRANT UPDATE (end_mark, modern_ssh_at) ON device TO backupflow_collector",
    "GRANT UPDATE (shape_hash, masked_hash) ON collection TO backupflow_collector",
    "GRANT INSERT ON aside TO backupflow_collector",
    "GRANT SELECT ON aside TO backupflow_reader",
    "GRANT SELECT, DELETE ON aside TO backupflow_operator",
)


def upgrade() -> None:
    op.add_column(
        "device",
        sa.Column(
            "router_since_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="observations up to this one are of an earlier router: never compared with",
        ),
    )
    op.add_column(
        "device",
        sa.Column(
            "end_mark",
            sa.Text(),
            server_default="untried",
            nullable=False,
            comment="what is known of the router's habit to repeat one",
        ),
    )
    op.create_check_constraint(
        op.f("ck_device_end_mark"), "device", "end_mark IN ('untried', 'repeated', 'required', 'absent')"
    )
    op.add_column(
        "device",
        sa.Column(
            "believe_seq",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="an operator said then that the next export is to be believed; spent by a later accepted one",
        ),
    )
    op.add_column(
        "device",
        sa.Column(
            "modern_ssh_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since when SHA-1 is out of the question for this router",
        ),
    )
    op.add_column(
        "collection",
        sa.Column("shape_hash", sa.LargeBinary(), nullable=True, comment="keyed: of the paths and their items' number"),
    )
    op.add_column(
        "collection",
        sa.Column("masked_hash", sa.LargeBinary(), nullable=True, comment="keyed: of the text without its secrets"),
    )
    op.create_table(
        "aside",
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sealed LIKE 'vault:v%%'", name=op.f("ck_aside_sealed")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_aside_tenant_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_id", "collection_id"],
            ["collection.tenant_id", "collection.device_id", "collection.id"],
            name="fk_aside_collection",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", name=op.f("pk_aside")),
    )
    op.create_index(op.f("ix_aside_device_id_collection_id"), "aside", ["device_id", "collection_id"])
    op.execute("ALTER TABLE aside ALTER COLUMN sealed SET STORAGE EXTERNAL")
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("aside")
    for column in ("shape_hash", "masked_hash"):
        op.drop_column("collection", column)
    for column in ("router_since_seq", "end_mark", "believe_seq", "modern_ssh_at"):
        op.drop_column("device", column)
