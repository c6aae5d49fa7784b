"""Let a fleet in: shared logins, jump hosts, settings of scopes, expected host keys, tests and scans, inventories.

`device.via_id` is the jump host that a device is really reached through, its own or inherited. The database keeps it,
so that the address of a device, which is unique behind each jump host, can never disagree with the way to it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_VIA = """
    SELECT CASE WHEN {device}.jump_direct THEN NULL
                WHEN {device}.jump_host_id IS NOT NULL THEN {device}.jump_host_id
                WHEN g.jump_direct THEN NULL
                ELSE coalesce(g.jump_host_id, s.jump_host_id, t.jump_host_id) END
    FROM tenant t
    LEFT JOIN device_group g ON g.id = {device}.device_group_id
    LEFT JOIN site s ON s.id = {device}.site_id
    WHERE t.id = {device}.tenant_id"""
# A device that is written while a scope above it gets another jump host must not keep the one before: it locks its
# scopes in share mode, for which the scope's own UPDATE waits, and the other way round.
FUNCTIONS = (
    f"""
    CREATE FUNCTION device_via() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM 1 FROM device_group WHERE id = NEW.device_group_id FOR SHARE;
        PERFORM 1 FROM site WHERE id = NEW.site_id FOR SHARE;
        PERFORM 1 FROM tenant WHERE id = NEW.tenant_id FOR SHARE;
        NEW.via_id := ({_VIA.format(device="NEW")});
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER device_via BEFORE INSERT OR UPDATE OF
        site_id, device_group_id, jump_host_id, jump_direct, via_id ON device
    FOR EACH ROW EXECUTE FUNCTION device_via()
    """,
    f"""
    CREATE FUNCTION scope_via() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE device d SET via_id = NULL
        WHERE d.tenant_id = CASE WHEN TG_TABLE_NAME = 'tenant' THEN NEW.id ELSE d.tenant_id END
          AND (TG_TABLE_NAME <> 'site' OR d.site_id = NEW.id)
          AND (TG_TABLE_NAME <> 'device_group' OR d.device_group_id = NEW.id)
          AND d.via_id IS DISTINCT FROM ({_VIA.format(device="d")});
        RETURN NULL;
    END $$
    """,  # noqa: S608 - of constants
    """
    CREATE TRIGGER scope_via AFTER UPDATE OF jump_host_id ON site
    FOR EACH ROW EXECUTE FUNCTION scope_via()
    """,
    """
    CREATE TRIGGER scope_via AFTER UPDATE OF jump_host_id, jump_direct ON device_group
    FOR EACH ROW EXECUTE FUNCTION scope_via()
    """,
    """
    CREATE TRIGGER scope_via AFTER UPDATE OF jump_host_id ON tenant
    FOR EACH ROW EXECUTE FUNCTION scope_via()
    """,
)
# How the pins of before came about: accepted where the audit says so, else at first sight.
PINS = """
    UPDATE host_key k SET trusted_at = k.first_seen_at, trusted_how = CASE WHEN EXISTS (
        SELECT 1 FROM audit a WHERE a.device_id = k.device_id AND a.action = 'host_key_accepted'
        AND a.detail ->> 'accepted' = k.fingerprint) THEN 'accepted' ELSE 'first_use' END
    WHERE status <> 'offered'"""
TRUST = """
    UPDATE {table} SET settings = jsonb_set(settings, '{{trust}}', '"{new}"') WHERE settings ->> 'trust' = '{old}'"""
SCOPES = ("tenant", "site", "device_group", "device")
# What the version before cannot say: without it a key would be pinned that nobody was to trust, a login sent another
# way, or a scan collected as a backup.
KEPT_HERE = {
    "host keys are expected": "expected_key",
    "credential profiles have settings": "credential_profile WHERE settings <> '{}'",
    "jump hosts have settings": "jump_host WHERE settings <> '{}'",
    "tenants name a login or a jump host": "tenant WHERE coalesce(credential_profile_id, jump_host_id) IS NOT NULL",
    "devices are reached without the jump host of their scopes": "device WHERE jump_direct AND status <> 'removed'",
    "groups are reached without the jump host of their tenant": "device_group WHERE jump_direct",
    "tests and scans are asked for": "request WHERE kind <> 'backup' AND answered_at IS NULL",
    "tests and scans run": "collection WHERE trigger IN ('test', 'scan') AND state IN ('claimed', 'running')",
}
REFUSE = """
    DO $$ BEGIN IF EXISTS (SELECT 1 FROM {rows}) THEN
        RAISE EXCEPTION 'the version before knows nothing of it: {what}; end that first, or restore the backup of then';
    END IF; END $$"""
HOP_STATE = "failures, down_since, retry_at, blocked_code, blocked_detail, blocked_at, reached_at"
GRANTS = (
    *(f"GRANT DELETE ON {table} TO backupflow_enroller" for table in ("site", "device_group", "jump_host")),
    "GRANT UPDATE (trusted_how, trusted_by, trusted_at) ON host_key TO backupflow_enroller",
    "GRANT SELECT, INSERT, DELETE ON expected_key TO backupflow_enroller",
    "GRANT SELECT, INSERT ON request TO backupflow_enroller",
    "GRANT SELECT (name), UPDATE (due_at) ON job TO backupflow_enroller",
    "GRANT SELECT ON expected_key TO backupflow_collector, backupflow_reader, backupflow_operator",
    f"GRANT UPDATE ({HOP_STATE}) ON jump_host TO backupflow_collector",
    "GRANT UPDATE (report) ON collection TO backupflow_collector",
    "GRANT SELECT (settings) ON credential_profile TO backupflow_scheduler, backupflow_reader, backupflow_operator",
    "GRANT SELECT (changed_at) ON credential_profile TO backupflow_scheduler",
)


def upgrade() -> None:
    op.add_column("tenant", sa.Column("credential_profile_id", sa.Uuid(), nullable=True))
    op.add_column("tenant", sa.Column("jump_host_id", sa.Uuid(), nullable=True))
    for target in ("credential_profile", "jump_host"):
        op.create_foreign_key(
            f"fk_tenant_{target}", "tenant", target, ["id", f"{target}_id"], ["tenant_id", "id"], use_alter=True
        )
    op.add_column(
        "credential_profile",
        sa.Column("settings", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    )
    for column in (
        sa.Column("settings", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("down_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True, comment="until then nobody tries it"),
        sa.Column("blocked_code", sa.Text(), nullable=True),
        sa.Column("blocked_detail", sa.Text(), nullable=True),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("jump_host", column)
    op.create_check_constraint(op.f("ck_jump_host_port"), "jump_host", "port BETWEEN 1 AND 65535")
    _direct("device_group")
    _direct("device")
    op.add_column(
        "device", sa.Column("via_id", sa.Uuid(), nullable=True, comment="the jump host that is used: a trigger's")
    )
    op.create_foreign_key(
        "fk_device_tenant_id_via_id", "device", "jump_host", ["tenant_id", "via_id"], ["tenant_id", "id"]
    )
    op.add_column("device", sa.Column("source", sa.Text(), nullable=True, comment="the inventory that it came from"))
    op.add_column("device", sa.Column("paused_reason", sa.Text(), nullable=True))
    for statement in FUNCTIONS:
        op.execute(statement)
    op.execute("UPDATE device SET via_id = NULL")
    _addresses("via_id")
    op.create_index("ix_device_via_id", "device", ["via_id"])
    for column in (
        sa.Column("trusted_how", sa.Text(), nullable=True, comment="of a pin, also a retired one"),
        sa.Column("trusted_by", sa.Text(), nullable=True),
        sa.Column("trusted_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("host_key", column)
    op.create_check_constraint(
        op.f("ck_host_key_trusted_how"),
        "host_key",
        "trusted_how IN ('first_use', 'approved', 'accepted', 'import', 'known_hosts')",
    )
    op.execute(PINS)
    for owner in ("device_id", "jump_host_id"):
        op.create_index(f"ix_host_key_{owner}", "host_key", [owner])
    op.drop_constraint("fk_host_key_tenant_id_jump_host_id", "host_key", type_="foreignkey")
    op.create_foreign_key(
        "fk_host_key_tenant_id_jump_host_id", "host_key", "jump_host", ["tenant_id", "jump_host_id"],
        ["tenant_id", "id"], ondelete="CASCADE", use_alter=True,
    )  # fmt: skip
    op.create_index(
        "uq_host_key_hop_offered", "host_key", ["jump_host_id", "key_type", "blob"], unique=True,
        postgresql_where=sa.text("status = 'offered'"),
    )  # fmt: skip
    _expected_keys()
    op.add_column("request", sa.Column("kind", sa.Text(), server_default="backup", nullable=False))
    op.create_check_constraint(op.f("ck_request_kind"), "request", "kind IN ('backup', 'test', 'scan')")
    op.add_column(
        "collection", sa.Column("report", postgresql.JSONB(), nullable=True, comment="what a test or a scan found")
    )
    for table in SCOPES:
        op.execute(TRUST.format(table=table, old="approved", new="manual"))
    for statement in GRANTS:
        op.execute(statement)


def _direct(table: str) -> None:
    op.add_column(
        table,
        sa.Column(
            "jump_direct",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="reached without a jump host, whatever the scopes above say",
        ),
    )
    op.create_check_constraint(op.f(f"ck_{table}_way"), table, "NOT jump_direct OR jump_host_id IS NULL")


def _addresses(way: str) -> None:
    op.drop_index("uq_device_address", table_name="device")
    op.create_index(
        "uq_device_address",
        "device",
        ["tenant_id", way, "host", "port"],
        unique=True,
        postgresql_where=sa.text("status <> 'removed'"),
        postgresql_nulls_not_distinct=True,
    )


def _expected_keys() -> None:
    op.create_table(
        "expected_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("jump_host_id", sa.Uuid(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=True, comment="where it is known"),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(device_id IS NULL) <> (jump_host_id IS NULL)", name=op.f("ck_expected_key_owner")),
        sa.CheckConstraint("how IN ('approved', 'import', 'known_hosts')", name=op.f("ck_expected_key_how")),
        sa.CheckConstraint("fingerprint LIKE 'SHA256:%'", name=op.f("ck_expected_key_fingerprint")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_expected_key_tenant_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_id"],
            ["device.tenant_id", "device.id"],
            name=op.f("fk_expected_key_tenant_id_device_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "jump_host_id"],
            ["jump_host.tenant_id", "jump_host.id"],
            name=op.f("fk_expected_key_tenant_id_jump_host_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_expected_key")),
        sa.UniqueConstraint("device_id", "fingerprint", name=op.f("uq_expected_key_device_id_fingerprint")),
        sa.UniqueConstraint("jump_host_id", "fingerprint", name=op.f("uq_expected_key_jump_host_id_fingerprint")),
    )


def _refuse_what_cannot_be_said_before() -> None:
    for what, rows in KEPT_HERE.items():
        op.execute(REFUSE.format(what=what, rows=rows))


def downgrade() -> None:
    _refuse_what_cannot_be_said_before()
    for table in SCOPES:
        op.execute(TRUST.format(table=table, old="manual", new="approved"))
    op.execute("REVOKE SELECT (changed_at) ON credential_profile FROM backupflow_scheduler")
    op.execute("REVOKE SELECT, INSERT ON request FROM backupflow_enroller")
    op.execute("REVOKE SELECT (name), UPDATE (due_at) ON job FROM backupflow_enroller")
    op.drop_column("collection", "report")
    op.drop_constraint(op.f("ck_request_kind"), "request", type_="check")
    op.drop_column("request", "kind")
    op.drop_table("expected_key")
    op.drop_index("uq_host_key_hop_offered", table_name="host_key")
    for owner in ("device_id", "jump_host_id"):
        op.drop_index(f"ix_host_key_{owner}", table_name="host_key")
    op.drop_constraint("fk_host_key_tenant_id_jump_host_id", "host_key", type_="foreignkey")
    op.create_foreign_key(
        "fk_host_key_tenant_id_jump_host_id", "host_key", "jump_host", ["tenant_id", "jump_host_id"],
        ["tenant_id", "id"], use_alter=True,
    )  # fmt: skip
    op.drop_constraint(op.f("ck_host_key_trusted_how"), "host_key", type_="check")
    for column in ("trusted_how", "trusted_by", "trusted_at"):
        op.drop_column("host_key", column)
    for table in ("site", "device_group", "tenant"):
        op.execute(f"DROP TRIGGER scope_via ON {table}")
    op.execute("DROP TRIGGER device_via ON device")
    op.execute("DROP FUNCTION scope_via()")
    op.execute("DROP FUNCTION device_via()")
    op.drop_index("ix_device_via_id", table_name="device")
    _addresses("jump_host_id")
    op.drop_constraint("fk_device_tenant_id_via_id", "device", type_="foreignkey")
    for table in ("device", "device_group"):
        op.drop_constraint(op.f(f"ck_{table}_way"), table, type_="check")
        op.drop_column(table, "jump_direct")
    for column in ("via_id", "source", "paused_reason"):
        op.drop_column("device", column)
    op.drop_constraint(op.f("ck_jump_host_port"), "jump_host", type_="check")
    for column in (
        "settings", "failures", "down_since", "retry_at", "blocked_code", "blocked_detail", "blocked_at", "reached_at",
    ):  # fmt: skip
        op.drop_column("jump_host", column)
    op.drop_column("credential_profile", "settings")
    for target in ("credential_profile", "jump_host"):
        op.drop_constraint(f"fk_tenant_{target}", "tenant", type_="foreignkey")
        op.drop_column("tenant", f"{target}_id")
    for table in ("site", "device_group", "jump_host"):
        op.execute(f"REVOKE DELETE ON {table} FROM backupflow_enroller")
