"""Create the schema: tables, the append-only audit chain, and what each role may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "alarm",
    "audit",
    "collection",
    "content",
    "credential_profile",
    "device",
    "device_group",
    "host_key",
    "job",
    "jump_host",
    "outbox",
    "process",
    "quarantine",
    "request",
    "site",
    "tenant",
    "transit_key",
)

# The audit is append-only by grant and by trigger, and each row seals the one before: whoever takes a row out of the
# middle breaks the chain. The lock makes the order of ids the order of the chain.
GUARDS = (
    """
    CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        -- An older snapshot would not show the newest row, and the chain would fork.
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE EXCEPTION 'the audit is written under READ COMMITTED only';
        END IF;
        PERFORM pg_advisory_xact_lock(hashtext('backupflow audit'));
        NEW.id := nextval(pg_get_serial_sequence('public.audit', 'id'));
        NEW.at := clock_timestamp();
        NEW.previous := coalesce((SELECT digest FROM public.audit ORDER BY id DESC LIMIT 1), '');
        NEW.digest := sha256(NEW.previous || convert_to(jsonb_build_array(
            NEW.id, extract(epoch FROM NEW.at), NEW.tenant_id, NEW.actor, NEW.action, NEW.device_id, NEW.detail
        )::text, 'UTF8'));
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER audit_chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_chain()",
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege'; END $$
    """,
    "CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_keep BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    """
    CREATE FUNCTION host_key_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.blob, NEW.key_type, NEW.fingerprint, NEW.first_seen_at, NEW.device_id, NEW.jump_host_id)
           IS DISTINCT FROM
           (OLD.blob, OLD.key_type, OLD.fingerprint, OLD.first_seen_at, OLD.device_id, OLD.jump_host_id) THEN
            RAISE EXCEPTION 'a host key never changes: it is retired, and another one pinned';
        END IF;
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER host_key_fixed BEFORE UPDATE ON host_key FOR EACH ROW EXECUTE FUNCTION host_key_fixed()",
    # Sealed text does not compress: PostgreSQL need not try.
    "ALTER TABLE content ALTER COLUMN sealed SET STORAGE EXTERNAL",
)

SCOPES = ("tenant", "site", "device_group", "jump_host")
LOGIN_STATE = (
    "(id, tenant_id, name, device_id, username, method, suspended_at, suspended_reason, created_at, changed_at)"
)

# role -> table -> privileges; a bracket names columns. Nobody but the migrator may change the schema, nobody may
# rewrite the audit, and only the collector and the enroller see sealed logins.
GRANTS: dict[str, dict[str, str]] = {
    "scheduler": {
        "device": "SELECT, UPDATE (next_due_at, last_seq, losses, lane)",
        "credential_profile": "SELECT (id, tenant_id, device_id, suspended_at)",
        "collection": "SELECT, INSERT, UPDATE (state, code, detail, emitted_at, emits, ended_at)",
        "request": "SELECT, UPDATE (collection_id, answered_at, answer)",
        "job": "SELECT, UPDATE (due_at, claimed_at)",
        "transit_key": "SELECT",
        "outbox": "SELECT",
        "alarm": "SELECT, INSERT, UPDATE (cleared_at)",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        **dict.fromkeys(SCOPES, "SELECT"),
    },
    "enroller": {
        "device": "SELECT, INSERT, UPDATE",
        "credential_profile": "SELECT, INSERT, UPDATE, DELETE",
        "host_key": "SELECT, INSERT, UPDATE (status)",
        "collection": "SELECT",
        "alarm": "SELECT, UPDATE (cleared_at)",
        "audit": "SELECT (id, digest), INSERT",
        **dict.fromkeys(SCOPES, "SELECT, INSERT, UPDATE"),
        "transit_key": "SELECT, INSERT",
    },
    "collector": {
        "device": (
            "SELECT, UPDATE (next_due_at, failures, losses, blocked_code, blocked_detail, blocked_at, "
            "remembered_command, lane)"
        ),
        "credential_profile": "SELECT",
        "collection": (
            "SELECT, UPDATE (state, code, detail, started_at, holder, lease_until, collected_at, content_hash, digest, "
            "normalization_version, raw_bytes, command, exit_status, facts, ended_at)"
        ),
        "host_key": "SELECT, INSERT, UPDATE (status, last_seen_at, last_verified_at)",
        "alarm": "SELECT, INSERT, UPDATE (cleared_at)",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        **dict.fromkeys(SCOPES, "SELECT"),
    },
    "ingester": {
        "tenant": "SELECT (id, removed_at)",
        "device": "SELECT, UPDATE (current_seq, current_collection_id, next_due_at, losses)",
        "collection": (
            "SELECT, UPDATE (state, code, stored_at, ended_at, content_id, is_change, interpreted_after_seq)"
        ),
        "content": "SELECT, INSERT",
        "quarantine": "SELECT, INSERT",
        "transit_key": "SELECT",
        "alarm": "SELECT, INSERT, UPDATE (cleared_at)",
        "process": "SELECT, INSERT, UPDATE, DELETE",
    },
    "interpreter": {
        "device": "SELECT, UPDATE (lane)",
        "collection": "SELECT, UPDATE (is_change, interpreted_after_seq)",
        "content": "SELECT",
        "outbox": "SELECT, INSERT, UPDATE (sent_at)",
        "transit_key": "SELECT",
        "alarm": "SELECT, INSERT, UPDATE (cleared_at)",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        **dict.fromkeys(SCOPES, "SELECT"),
    },
    "reader": {
        "device": "SELECT",
        "credential_profile": f"SELECT {LOGIN_STATE}",
        "audit": "SELECT, INSERT",
        **dict.fromkeys(
            (
                *SCOPES,
                "collection",
                "content",
                "host_key",
                "request",
                "job",
                "process",
                "alarm",
                "outbox",
                "transit_key",
                "quarantine",
            ),
            "SELECT",
        ),
    },
    "operator": {
        "device": "SELECT, INSERT, UPDATE",
        "credential_profile": f"SELECT {LOGIN_STATE}, UPDATE (suspended_at, suspended_reason), DELETE",
        "collection": "SELECT, UPDATE, DELETE",
        "content": "SELECT, UPDATE (sealed), DELETE",
        "host_key": "SELECT, INSERT, UPDATE (status, last_seen_at)",
        "request": "SELECT, INSERT, UPDATE, DELETE",
        "job": "SELECT, UPDATE",
        "alarm": "SELECT, INSERT, UPDATE (cleared_at), DELETE",
        "quarantine": "SELECT, DELETE",
        "outbox": "SELECT, UPDATE, DELETE",
        "transit_key": "SELECT, INSERT, UPDATE",
        "process": "SELECT, INSERT, UPDATE, DELETE",
        "audit": "SELECT, INSERT",
        **dict.fromkeys(SCOPES, "SELECT, INSERT, UPDATE"),
    },
}


def grants() -> list[str]:
    """The statements that give each role what it needs, and PUBLIC nothing."""
    statements = ["REVOKE ALL ON SCHEMA public FROM PUBLIC"]
    for role, tables in GRANTS.items():
        grantee = f"backupflow_{role}"
        statements.append(f"GRANT USAGE ON SCHEMA public TO {grantee}")
        statements.append(f"GRANT SELECT ON alembic_version TO {grantee}")
        statements += [f"GRANT {privileges} ON {table} TO {grantee}" for table, privileges in tables.items()]
    return statements


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True, comment="no reference: an act outlives what it was done to"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("previous", sa.LargeBinary(), nullable=False, comment="digest of the row before"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 over previous and this row"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("every", sa.Interval(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
    op.create_table(
        "process",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column(
            "slots",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
            comment="lane -> how many at a time",
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_process")),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "tenant_id", sa.Uuid(), nullable=True, comment="as the message claims; not trusted, hence no reference"
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True, comment="none if the quarantine was full"),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the payload"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("digest", "reason", name=op.f("uq_quarantine_digest_reason")),
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pepper", sa.Text(), nullable=True, comment="sealed; none until the keys are made"),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
        sa.UniqueConstraint("name", name=op.f("uq_tenant_name")),
    )
    op.create_table(
        "alarm",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_alarm_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(
        "uq_alarm_standing", "alarm", ["code", "scope"], unique=True, postgresql_where=sa.text("cleared_at IS NULL")
    )
    op.create_table(
        "content",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("normalization_version", sa.Integer(), nullable=False),
        sa.Column(
            "content_hash", sa.LargeBinary(), nullable=False, comment="keyed: HMAC-SHA-256 under the tenant's pepper"
        ),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("raw_bytes", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sealed LIKE 'vault:v%%'", name=op.f("ck_content_sealed")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_content_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_content")),
        sa.UniqueConstraint("tenant_id", "device_id", "id", name=op.f("uq_content_tenant_id_device_id_id")),
        sa.UniqueConstraint(
            "tenant_id",
            "device_id",
            "normalization_version",
            "content_hash",
            name=op.f("uq_content_tenant_id_device_id_normalization_version_content_hash"),
        ),
    )
    op.create_table(
        "credential_profile",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Uuid(), nullable=True, comment="a device's own login, which has no name"),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column(
            "sealed",
            sa.Text(),
            nullable=False,
            comment="sealed for this profile, or for the device whose own login it is",
        ),
        sa.Column("suspended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("suspended_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("method IN ('password', 'key')", name=op.f("ck_credential_profile_method")),
        sa.CheckConstraint("(name IS NULL) <> (device_id IS NULL)", name=op.f("ck_credential_profile_owner")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_credential_profile_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential_profile")),
        sa.UniqueConstraint("device_id", name=op.f("uq_credential_profile_device_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_credential_profile_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_credential_profile_tenant_id_name")),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), server_default="22", nullable=False),
        sa.Column("driver", sa.Text(), server_default="routeros", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("site_id", sa.Uuid(), nullable=True),
        sa.Column("device_group_id", sa.Uuid(), nullable=True),
        sa.Column("credential_profile_id", sa.Uuid(), nullable=True),
        sa.Column("jump_host_id", sa.Uuid(), nullable=True),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("lane", sa.Text(), server_default="collect", nullable=False),
        sa.Column("anchor_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_code", sa.Text(), nullable=True),
        sa.Column("blocked_detail", sa.Text(), nullable=True),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("remembered_command", sa.Text(), nullable=True),
        sa.Column("last_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("kept_from_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("current_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("current_collection_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("lane IN ('collect', 'collect.slow')", name=op.f("ck_device_lane")),
        sa.CheckConstraint("status IN ('active', 'paused', 'removed')", name=op.f("ck_device_status")),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name=op.f("ck_device_port")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_device_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_device_tenant_id_id")),
    )
    op.create_index(
        "ix_device_due",
        "device",
        ["next_due_at"],
        unique=False,
        postgresql_where=sa.text("status = 'active' AND blocked_code IS NULL"),
    )
    op.create_index(
        "uq_device_address",
        "device",
        ["tenant_id", "jump_host_id", "host", "port"],
        unique=True,
        postgresql_where=sa.text("status <> 'removed'"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index(
        "uq_device_name", "device", ["tenant_id", "name"], unique=True, postgresql_where=sa.text("status <> 'removed'")
    )
    op.create_table(
        "device_group",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("credential_profile_id", sa.Uuid(), nullable=True),
        sa.Column("jump_host_id", sa.Uuid(), nullable=True),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_device_group_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_group")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_device_group_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_device_group_tenant_id_name")),
    )
    op.create_table(
        "host_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=True),
        sa.Column("jump_host_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('pinned', 'offered', 'retired')", name=op.f("ck_host_key_status")),
        sa.CheckConstraint("(device_id IS NULL) <> (jump_host_id IS NULL)", name=op.f("ck_host_key_owner")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_host_key_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_key")),
    )
    op.create_index(
        "uq_host_key_hop_pinned",
        "host_key",
        ["jump_host_id"],
        unique=True,
        postgresql_where=sa.text("status = 'pinned'"),
    )
    op.create_index(
        "uq_host_key_offered",
        "host_key",
        ["device_id", "key_type", "blob"],
        unique=True,
        postgresql_where=sa.text("status = 'offered'"),
    )
    op.create_index(
        "uq_host_key_pinned", "host_key", ["device_id"], unique=True, postgresql_where=sa.text("status = 'pinned'")
    )
    op.create_table(
        "jump_host",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), server_default="22", nullable=False),
        sa.Column("credential_profile_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_jump_host_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jump_host")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_jump_host_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_jump_host_tenant_id_name")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_outbox_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_waiting", "outbox", ["created_at"], unique=False, postgresql_where=sa.text("sent_at IS NULL")
    )
    op.create_table(
        "site",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("credential_profile_id", sa.Uuid(), nullable=True),
        sa.Column("jump_host_id", sa.Uuid(), nullable=True),
        sa.Column(
            "settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_site_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_site_tenant_id_id")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_site_tenant_id_name")),
    )
    op.create_table(
        "transit_key",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False, comment="canary: HMAC of a fixed text, made with the key"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("purpose IN ('credentials', 'data', 'pepper')", name=op.f("ck_transit_key_purpose")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_transit_key_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "purpose", name=op.f("pk_transit_key")),
    )
    op.create_table(
        "collection",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="claimed", nullable=False),
        sa.Column("code", sa.Text(), nullable=True, comment="why it ended as it did"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("emitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("emits", sa.Integer(), server_default="1", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("holder", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("collected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True, comment="SHA-256 of the sealed text"),
        sa.Column("normalization_version", sa.Integer(), nullable=True),
        sa.Column("raw_bytes", sa.Integer(), nullable=True),
        sa.Column("command", sa.Text(), nullable=True),
        sa.Column(
            "exit_status", sa.BigInteger(), nullable=True, comment="a uint32 on the wire (RFC 4254, section 6.10)"
        ),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "is_change",
            sa.Boolean(),
            nullable=True,
            comment="differs from the observation just before it; null: undecided",
        ),
        sa.Column(
            "interpreted_after_seq",
            sa.BigInteger(),
            nullable=True,
            comment="the predecessor of the interpretation that was made",
        ),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("lane IN ('collect.now', 'collect', 'collect.slow')", name=op.f("ck_collection_lane")),
        sa.CheckConstraint(
            "state <> 'running' OR (holder IS NOT NULL AND lease_until IS NOT NULL)", name=op.f("ck_collection_lease")
        ),
        sa.CheckConstraint(
            "state <> 'stored' OR (content_id IS NOT NULL AND digest IS NOT NULL)", name=op.f("ck_collection_stored")
        ),
        sa.CheckConstraint(
            "state IN ('claimed', 'running', 'published', 'stored', 'withdrawn', "
            "'lost', 'failed', 'blocked', 'suspect', 'tested')",
            name=op.f("ck_collection_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "device_id", "content_id"],
            ["content.tenant_id", "content.device_id", "content.id"],
            name="fk_collection_content",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_collection_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collection")),
        sa.UniqueConstraint("device_id", "seq", name=op.f("uq_collection_device_id_seq")),
        sa.UniqueConstraint("tenant_id", "device_id", "id", name=op.f("uq_collection_tenant_id_device_id_id")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_collection_tenant_id_id")),
    )
    op.create_index(
        "ix_collection_stored",
        "collection",
        ["device_id", "seq"],
        unique=False,
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.create_index(
        "ix_collection_unfinished",
        "collection",
        ["state", "lane"],
        unique=False,
        postgresql_where=sa.text("state IN ('claimed', 'running') OR state = 'published'"),
    )
    op.create_index(
        "uq_collection_open",
        "collection",
        ["device_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('claimed', 'running')"),
    )
    op.create_table(
        "request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("device_id", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True, comment="claimed, attached, or refused with a reason"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "collection_id"],
            ["collection.tenant_id", "collection.id"],
            name=op.f("fk_request_tenant_id_collection_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_request_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request")),
    )
    op.create_index(
        "ix_request_waiting", "request", ["requested_at"], unique=False, postgresql_where=sa.text("answered_at IS NULL")
    )
    op.create_foreign_key(
        "fk_content_tenant_id_device_id", "content", "device", ["tenant_id", "device_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_credential_profile_tenant_id_device_id",
        "credential_profile",
        "device",
        ["tenant_id", "device_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_device_tenant_id_credential_profile_id",
        "device",
        "credential_profile",
        ["tenant_id", "credential_profile_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_device_tenant_id_device_group_id",
        "device",
        "device_group",
        ["tenant_id", "device_group_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_device_current_collection",
        "device",
        "collection",
        ["tenant_id", "id", "current_collection_id"],
        ["tenant_id", "device_id", "id"],
        ondelete="RESTRICT",
    )
    op.create_foreign_key(
        "fk_device_tenant_id_jump_host_id", "device", "jump_host", ["tenant_id", "jump_host_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_device_tenant_id_site_id", "device", "site", ["tenant_id", "site_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_device_group_tenant_id_credential_profile_id",
        "device_group",
        "credential_profile",
        ["tenant_id", "credential_profile_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_device_group_tenant_id_jump_host_id",
        "device_group",
        "jump_host",
        ["tenant_id", "jump_host_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_host_key_tenant_id_device_id", "host_key", "device", ["tenant_id", "device_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_host_key_tenant_id_jump_host_id",
        "host_key",
        "jump_host",
        ["tenant_id", "jump_host_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_jump_host_tenant_id_credential_profile_id",
        "jump_host",
        "credential_profile",
        ["tenant_id", "credential_profile_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_site_tenant_id_credential_profile_id",
        "site",
        "credential_profile",
        ["tenant_id", "credential_profile_id"],
        ["tenant_id", "id"],
    )
    op.create_foreign_key(
        "fk_site_tenant_id_jump_host_id", "site", "jump_host", ["tenant_id", "jump_host_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_collection_tenant_id_device_id", "collection", "device", ["tenant_id", "device_id"], ["tenant_id", "id"]
    )
    op.create_foreign_key(
        "fk_request_tenant_id_device_id", "request", "device", ["tenant_id", "device_id"], ["tenant_id", "id"]
    )

    for statement in (*GUARDS, *grants()):
        op.execute(statement)
    op.execute("INSERT INTO job (name, every) VALUES ('reconcile', interval '5 minutes')")


def downgrade() -> None:
    op.drop_constraint("fk_device_current_collection", "device")
    op.drop_constraint("fk_credential_profile_tenant_id_device_id", "credential_profile")
    for table in TABLES:
        op.execute(f"DROP TABLE {table} CASCADE")
    for function in ("audit_chain", "audit_refuse", "host_key_fixed"):
        op.execute(f"DROP FUNCTION {function}()")
