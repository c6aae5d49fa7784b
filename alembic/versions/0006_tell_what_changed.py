"""Tell what changed: interpretations, what is ignored in them, and what a newer normalizer makes of the past.

Rows from before say nothing of it: every change that is kept is interpreted anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What the version before cannot say. Interpretations are made again; a device that changes without end is collected at
# its interval.
KEPT_HERE = {
    "there are rules of what is ignored": "ignore_rule",
    "routers are asked who changed them":
        "(SELECT settings FROM device WHERE status <> 'removed' UNION ALL SELECT settings FROM device_group "
        "UNION ALL SELECT settings FROM site UNION ALL SELECT settings FROM tenant WHERE removed_at IS NULL) s "
        "WHERE settings ? 'who'",
}  # fmt: skip
REFUSE = """
    DO $$ BEGIN IF EXISTS (SELECT 1 FROM {rows}) THEN
        RAISE EXCEPTION 'the version before knows nothing of it: {what}; end that first, or restore the backup of then';
    END IF; END $$"""
INTERPRETED = "interpreted_after_seq, interpret_tries, interpret_until"
CONTENT = "normalization_version, content_hash, next_version, next_hash, next_shape_hash, next_masked_hash"
GRANTS = (
    "GRANT UPDATE (interpret_tries, interpret_until) ON collection TO backupflow_ingester",
    f"GRANT UPDATE ({INTERPRETED}) ON collection TO backupflow_interpreter",
    "GRANT UPDATE (flapping_since) ON device TO backupflow_interpreter",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON interpretation TO backupflow_interpreter",
    "GRANT SELECT ON ignore_rule TO backupflow_interpreter",
    # When another router took a name over: nothing is told as one across that.
    "GRANT SELECT (id, at, action, device_id, detail) ON audit TO backupflow_interpreter",
    "GRANT UPDATE (log_sealed) ON collection TO backupflow_collector",
    "GRANT SELECT ON interpretation TO backupflow_reader",
    "GRANT SELECT ON ignore_rule TO backupflow_reader",
    "GRANT SELECT, INSERT, DELETE ON ignore_rule TO backupflow_enroller",
    "GRANT SELECT, UPDATE, DELETE ON interpretation TO backupflow_operator",
    "GRANT SELECT, DELETE ON ignore_rule TO backupflow_operator",
    f"GRANT UPDATE ({CONTENT}) ON content TO backupflow_operator",
    "GRANT UPDATE (sealed) ON outbox TO backupflow_operator",
    "GRANT UPDATE (sealed) ON event TO backupflow_operator",
)


def _at(name: str, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True, comment=comment)


def _now(name: str, comment: str | None = None) -> sa.Column[object]:
    now = sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False, comment=comment)


def _count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False, comment=comment)


def _list(name: str, comment: str | None = None) -> sa.Column[object]:
    none = sa.text("'[]'::jsonb")
    return sa.Column(name, postgresql.JSONB(), server_default=none, nullable=False, comment=comment)


def _columns() -> dict[str, tuple[sa.Column[object] | sa.Column[int], ...]]:
    """Anew each time: a column belongs to one table."""
    return {
        "tenant": (_at("shredded_at", "its keys were destroyed: nothing that was sealed for it opens any more"),),
        "device": (
            _at("flapping_since", "it changes without end: collected once a day until a day stays within the quota"),
        ),
        "content": (
            sa.Column("next_version", sa.Integer(), nullable=True),
            sa.Column("next_hash", sa.LargeBinary(), nullable=True),
            sa.Column("next_shape_hash", sa.LargeBinary(), nullable=True),
            sa.Column("next_masked_hash", sa.LargeBinary(), nullable=True),
        ),
        "collection": (
            _count("interpret_tries"),
            _at("interpret_until", "somebody interprets it"),
            sa.Column(
                "log_sealed",
                sa.Text(),
                nullable=True,
                comment="what the router's own log of changes said, sealed for the device",
            ),
        ),
        "event": (
            sa.Column("device_id", sa.Uuid(), nullable=True, comment="whose `sealed` is"),
            sa.Column(
                "sealed",
                sa.Text(),
                nullable=True,
                comment="what of a configuration is told with it, sealed for the device",
            ),
        ),
        "outbox": (
            sa.Column("device_id", sa.Uuid(), nullable=True, comment="whose `sealed` is"),
            sa.Column(
                "sealed",
                sa.Text(),
                nullable=True,
                comment="what of a configuration is to be told, sealed for the device",
            ),
        ),
    }


CHECKS = {
    ("collection", "log_sealed"): "log_sealed LIKE 'vault:v%'",
    ("event", "sealed"): "sealed LIKE 'vault:v%'",
    ("event", "whose"): "sealed IS NULL OR device_id IS NOT NULL",
    ("outbox", "sealed"): "sealed LIKE 'vault:v%'",
    ("outbox", "whose"): "sealed IS NULL OR device_id IS NOT NULL",
}
BODY = "JSON, byte for byte as it is signed and sent"


def _make_interpretation() -> None:
    op.create_table(
        "interpretation",
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column(
            "after_seq",
            sa.BigInteger(),
            nullable=False,
            comment="what it is compared with; 0: nothing was before it",
        ),
        _now("at", "when it was collected"),
        sa.Column("normalization_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False, comment="why it is unread or coarse"),
        _count("lines_added"),
        _count("lines_removed"),
        _count("changes", "without those that are ignored"),
        _count("ignored"),
        _list("components"),
        _list("touched", "keyed hashes of its items"),
        sa.Column("changes_sealed", sa.Text(), nullable=True),
        sa.Column("diff_sealed", sa.Text(), nullable=True),
        _now("created_at"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_interpretation_tenant_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_id", "collection_id"],
            ["collection.tenant_id", "collection.device_id", "collection.id"],
            name="fk_interpretation_collection",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "kind IN ('first', 'change', 'upgrade', 'secrets', 'order', 'unread')",
            name=op.f("ck_interpretation_kind"),
        ),
        sa.CheckConstraint("changes_sealed LIKE 'vault:v%'", name=op.f("ck_interpretation_changes_sealed")),
        sa.CheckConstraint("diff_sealed LIKE 'vault:v%'", name=op.f("ck_interpretation_diff_sealed")),
        sa.PrimaryKeyConstraint("collection_id", name=op.f("pk_interpretation")),
    )
    op.create_index("ix_interpretation_device_id_seq", "interpretation", ["device_id", "seq"], unique=True)
    op.create_index("ix_interpretation_tenant_id_at", "interpretation", ["tenant_id", "at"])


def _make_ignore_rule() -> None:
    op.create_table(
        "ignore_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("device_group_id", sa.Uuid(), nullable=True),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("property", sa.Text(), nullable=False, comment="*: any"),
        sa.Column(
            "identity", sa.Text(), nullable=True, comment="a pattern with * and ? for the item; null: any"
        ),
        sa.Column("added_by", sa.Text(), nullable=False),
        _now("created_at"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_ignore_rule_tenant_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_id"], ["device.tenant_id", "device.id"],
            name=op.f("fk_ignore_rule_tenant_id_device_id"), ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_group_id"], ["device_group.tenant_id", "device_group.id"],
            name=op.f("fk_ignore_rule_tenant_id_device_group_id"), ondelete="CASCADE",
        ),
        sa.CheckConstraint("num_nonnulls(device_id, device_group_id) <= 1", name=op.f("ck_ignore_rule_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ignore_rule")),
    )  # fmt: skip
    op.create_index(
        "uq_ignore_rule",
        "ignore_rule",
        ["tenant_id", "device_id", "device_group_id", "component", "property", "identity"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    for (table, name), condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    op.alter_column("event", "body", comment=f"{BODY}, but for `sealed`")
    op.execute("UPDATE collection SET interpreted_after_seq = NULL WHERE interpreted_after_seq IS NOT NULL")
    op.create_index(
        "ix_collection_uninterpreted", "collection", ["id"],
        postgresql_where=sa.text("state = 'stored' AND is_change IS NOT FALSE AND interpreted_after_seq IS NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_collection_content_id", "collection", ["content_id"],
        postgresql_where=sa.text("content_id IS NOT NULL"),
    )  # fmt: skip
    _make_interpretation()
    _make_ignore_rule()
    op.execute("INSERT INTO job (name, every) VALUES ('retain', interval '1 day'), ('renormalize', interval '1 hour')")
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    for what, rows in KEPT_HERE.items():
        op.execute(REFUSE.format(what=what, rows=rows))
    op.execute("REVOKE SELECT (id, at, action, device_id, detail) ON audit FROM backupflow_interpreter")
    op.execute("DELETE FROM job WHERE name IN ('retain', 'renormalize')")
    op.execute("DELETE FROM outbox WHERE sealed IS NOT NULL")
    op.execute("DELETE FROM event WHERE sealed IS NOT NULL")
    op.drop_table("ignore_rule")
    op.drop_table("interpretation")
    op.drop_index("ix_collection_content_id", table_name="collection")
    op.drop_index("ix_collection_uninterpreted", table_name="collection")
    op.execute("UPDATE collection SET interpreted_after_seq = NULL WHERE interpreted_after_seq IS NOT NULL")
    op.alter_column("event", "body", comment=BODY)
    for table, name in CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)
