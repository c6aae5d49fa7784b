"""Wait for routers that say no: contacts, outages of sites, refused logins and their rotation, maintenance, events.

Rows from before say nothing of it: no device was ever met, no site is down, and no login has a successor.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What nobody can edit any more keeps nobody here.
THERE = {"tenant": "removed_at IS NULL", "site": "true", "device_group": "true", "device": "status <> 'removed'"}
# What the version before cannot say: it would send a login that waits, leave a successor behind that nobody opens, or
# come to what an operator lets rest. Outages, contacts and a poller's word are found out anew: it has never waited for
# those, and its own waits (next_due_at, blocks) stay.
KEPT_HERE = {
    "logins are being rotated": "credential_profile WHERE next_sealed IS NOT NULL",
    "logins wait since many devices refused them": "credential_profile WHERE trial_at IS NOT NULL",
    "backups are forced": "request WHERE forced AND answered_at IS NULL",
    "probes, trials and forced backups run":
        "collection WHERE trigger IN ('probe', 'trial', 'forced') AND state IN ('claimed', 'running')",
    **{
        f"a {table} has a timetable or maintenance windows":
            f"{table} WHERE settings ?| ARRAY['cron', 'maintenance'] AND {there}"
        for table, there in THERE.items()
    },
    **{
        f"a {table} is in maintenance": f"{table} WHERE maintenance_until > now() AND {there}"
        for table, there in THERE.items()
    },
}  # fmt: skip
REFUSE = """
    DO $$ BEGIN IF EXISTS (SELECT 1 FROM {rows}) THEN
        RAISE EXCEPTION 'the version before knows nothing of it: {what}; end that first, or restore the backup of then';
    END IF; END $$"""
SCOPES = tuple(THERE)
CONTACT = (
    "answered_at, unreachable_since, probed_at, met_at, hold_until, wary_until, login_on, refused_on, refused_at, "
    "login_since"
)
NEXT_LOGIN = "next_username, next_method, next_sealed, next_changed_at"
SUSPENSION = "suspended_at, suspended_reason, trial_at, trials, proved_at"
GRANTS = (
    *(f"GRANT UPDATE (maintenance_until) ON {table} TO backupflow_scheduler" for table in SCOPES),
    "GRANT UPDATE (down_since, probe_at, probes) ON site TO backupflow_scheduler",
    "GRANT UPDATE (offline_since) ON device TO backupflow_scheduler",
    "GRANT SELECT (name, trial_at, trials), UPDATE (trial_at, trials) ON credential_profile TO backupflow_scheduler",
    f"GRANT UPDATE ({CONTACT}) ON device TO backupflow_collector",
    f"GRANT UPDATE ({SUSPENSION}) ON credential_profile TO backupflow_collector",
    "GRANT UPDATE (login_id, login_on, login_sent_at, via_id) ON collection TO backupflow_collector",
    *(
        "GRANT SELECT (next_username, next_method, next_changed_at, trial_at, trials, proved_at) ON credential_profile "
        f"TO backupflow_{role}"
        for role in ("reader", "operator")
    ),
    f"GRANT SELECT (next_sealed), UPDATE ({NEXT_LOGIN}, trial_at, trials) ON credential_profile TO backupflow_operator",
)

# The rows of the outbox: nobody may write one for an alarm but this, and nobody who raises an alarm can forget it.
# Its times are the defaults of the columns.
TELL_OF_ALARM = """
    CREATE FUNCTION alarm_told() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE what text := CASE TG_OP WHEN 'INSERT' THEN 'raised' ELSE 'cleared' END;
    BEGIN
        INSERT INTO public.outbox (tenant_id, kind, key, alarm_id)
        VALUES (NEW.tenant_id, what, 'alarm ' || NEW.id || ' ' || what, NEW.id) ON CONFLICT (key) DO NOTHING;
        RETURN NULL;
    END $$
    """
ATTEMPT = "due_at, attempts, failing_since, tried_at, answer, sent_at, given_up_at"
EVENTS = (
    TELL_OF_ALARM,
    "REVOKE ALL ON FUNCTION alarm_told() FROM PUBLIC",
    "CREATE TRIGGER alarm_raised AFTER INSERT ON alarm FOR EACH ROW EXECUTE FUNCTION alarm_told()",
    """
    CREATE TRIGGER alarm_cleared AFTER UPDATE OF cleared_at ON alarm FOR EACH ROW
    WHEN (OLD.cleared_at IS NULL AND NEW.cleared_at IS NOT NULL) EXECUTE FUNCTION alarm_told()
    """,
    "REVOKE UPDATE ON outbox FROM backupflow_operator",
    "GRANT UPDATE (due_at, event_id) ON outbox TO backupflow_operator",
    "GRANT SELECT, INSERT, DELETE ON event TO backupflow_operator",
    f"GRANT UPDATE ({ATTEMPT}) ON event TO backupflow_operator",
    "GRANT SELECT ON event TO backupflow_reader",
    "GRANT SELECT (due_at, sent_at, given_up_at) ON event TO backupflow_scheduler",
)
NO_EVENTS = (
    "DROP TRIGGER alarm_raised ON alarm",
    "DROP TRIGGER alarm_cleared ON alarm",
    "DROP FUNCTION alarm_told()",
    "DELETE FROM outbox",
)
EVENTS_BEFORE = (
    "GRANT UPDATE (sent_at) ON outbox TO backupflow_interpreter",
    "REVOKE UPDATE (due_at, event_id) ON outbox FROM backupflow_operator",
    "GRANT UPDATE ON outbox TO backupflow_operator",
)


def _at(name: str, comment: str | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True, comment=comment)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def _columns() -> dict[str, tuple[sa.Column[object] | sa.Column[int], ...]]:
    """Anew each time: a column belongs to one table."""
    return {
        "tenant": (_at("maintenance_until"),),
        "device_group": (_at("maintenance_until"),),
        "site": (
            _at("maintenance_until"),
            _at("down_since", "since when its devices went away together"),
            _at("probe_at", "when one of its devices is tried next"),
            _count("probes"),
        ),
        "device": (
            _at("maintenance_until"),
            _at("answered_at", "when it last said anything at all"),
            _at("unreachable_since"),
            _at("probed_at", "when it was last knocked at, out of the collections"),
            _at("offline_since", "when a poller's word first kept it from being collected"),
            _at("met_at", "the last connection to it: see core.firewall"),
            _at("hold_until", "nothing that comes by itself connects before"),
            _at("wary_until", "one more connection before might get our address banned"),
            sa.Column("login_on", sa.Text(), server_default="current", nullable=False),
            sa.Column("refused_on", sa.Text(), nullable=True, comment="which of two logins it has refused"),
            _at("login_since", "since when that login has worked; not known to, since its rotation began, if null"),
            _at("refused_at", "a refusal that did not block it, since its login was suspended"),
            sa.Column(
                "compacted_to_seq",
                sa.BigInteger(),
                server_default="0",
                nullable=False,
                comment="up to this one collections that say nothing more were taken away",
            ),
            _at("compacted_at"),
        ),
        "credential_profile": (
            sa.Column("next_username", sa.Text(), nullable=True),
            sa.Column("next_method", sa.Text(), nullable=True),
            sa.Column("next_sealed", sa.Text(), nullable=True, comment="sealed for this profile, while it is rotated"),
            _at("next_changed_at"),
            _at("trial_at", "suspended since many devices refused it: when one tries it again"),
            _count("trials"),
            _at("proved_at", "when a trial ended the last such suspension"),
        ),
        "collection": (
            sa.Column("login_id", sa.Uuid(), nullable=True, comment="whose login was sent"),
            sa.Column("login_on", sa.Text(), nullable=True),
            _at("login_sent_at"),
            sa.Column("via_id", sa.Uuid(), nullable=True, comment="the jump host on its way"),
            sa.Column(
                "compacted",
                sa.Integer(),
                server_default="0",
                nullable=False,
                comment="how many with the same outcome were taken away just before it",
            ),
        ),
        "job": (sa.Column("noted", postgresql.JSONB(), nullable=True, comment="what a run leaves to the next one"),),
        "request": (sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),),
    }


CHECKS = {
    ("device", "login_on"): "login_on IN ('current', 'next')",
    ("device", "refused_on"): "refused_on IN ('current', 'next')",
    ("collection", "login_on"): "login_on IN ('current', 'next')",
    ("credential_profile", "next_method"): "next_method IN ('password', 'key')",
    ("credential_profile", "next"): "num_nulls(next_username, next_method, next_sealed, next_changed_at) IN (0, 4) "
    "AND (next_sealed IS NULL OR name IS NOT NULL)",
    ("credential_profile", "trial"): "trial_at IS NULL OR suspended_at IS NOT NULL",
}


def _make_events() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column(
            "place", sa.Text(), nullable=False, comment="a site, jump host or login; empty: none, or all of them"
        ),
        sa.Column("body", sa.Text(), nullable=False, comment="JSON, byte for byte as it is signed and sent"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        _count("attempts"),
        _at("failing_since"),
        _at("tried_at"),
        sa.Column("answer", sa.Text(), nullable=True, comment="what came of the last attempt"),
        _at("sent_at"),
        _at("given_up_at"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name=op.f("fk_event_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint("number", name=op.f("uq_event_number")),
    )
    op.create_index("ix_event_told", "event", ["kind", "code", "created_at"])
    unsent = sa.text("sent_at IS NULL AND given_up_at IS NULL")
    op.create_index("ix_event_unsent", "event", ["number"], postgresql_where=unsent)
    op.execute("DELETE FROM outbox")  # nobody ever wrote one
    op.drop_index("ix_outbox_waiting", table_name="outbox")
    op.drop_column("outbox", "sent_at")
    op.alter_column("outbox", "tenant_id", nullable=True)
    op.alter_column("outbox", "payload", server_default=sa.text("'{}'::jsonb"))
    op.alter_column("outbox", "kind", comment="raised or cleared, of an alarm; else a kind of event")
    for column in (
        sa.Column("key", sa.Text(), nullable=False, comment="of what happened: it is told once"),
        sa.Column("alarm_id", sa.BigInteger(), nullable=True),
        _at("due_at", "not looked at before; null: soon after it was written"),
        sa.Column("event_id", sa.Uuid(), nullable=True, comment="that tells of it; null: it waits"),
    ):
        op.add_column("outbox", column)
    op.create_unique_constraint(op.f("uq_outbox_key"), "outbox", ["key"])
    for column, table in (("alarm_id", "alarm"), ("event_id", "event")):
        name = op.f(f"fk_outbox_{column}")
        op.create_foreign_key(name, "outbox", table, [column], ["id"], ondelete="CASCADE")
        op.create_index(f"ix_outbox_{column}", "outbox", [column])
    op.create_index("ix_outbox_waiting", "outbox", ["id"], postgresql_where=sa.text("event_id IS NULL"))
    for statement in EVENTS:
        op.execute(statement)


def _drop_events() -> None:
    """What was to be told is not: `status` shows it."""
    for statement in NO_EVENTS:
        op.execute(statement)
    op.drop_index("ix_outbox_waiting", table_name="outbox")
    op.add_column("outbox", _at("sent_at"))
    for statement in EVENTS_BEFORE:
        op.execute(statement)
    for column in ("key", "alarm_id", "due_at", "event_id"):
        op.drop_column("outbox", column)
    op.alter_column("outbox", "tenant_id", nullable=False)
    op.alter_column("outbox", "payload", server_default=None)
    op.alter_column("outbox", "kind", comment=None)
    op.create_index(
        "ix_outbox_waiting", "outbox", ["created_at"], unique=False, postgresql_where=sa.text("sent_at IS NULL")
    )
    op.drop_table("event")


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    for (table, name), condition in CHECKS.items():
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)
    op.create_index(
        "ix_collection_login", "collection", ["login_id", "login_sent_at"],
        postgresql_where=sa.text("login_sent_at IS NOT NULL"),
    )  # fmt: skip
    op.create_index("ix_device_site_id", "device", ["site_id"])
    op.create_index(
        "ix_device_maintenance", "device", ["id"],
        postgresql_where=sa.text("settings ? 'maintenance' OR maintenance_until IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_device_unreachable", "device", ["unreachable_since"],
        postgresql_where=sa.text("unreachable_since IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_collection_change", "collection", ["device_id"], postgresql_where=sa.text("state = 'stored' AND is_change")
    )
    op.execute("INSERT INTO job (name, every) VALUES ('watch', interval '1 minute')")
    op.create_index("ix_request_collection_id", "request", ["collection_id"])
    op.execute("INSERT INTO job (name, every) VALUES ('compact', interval '1 day')")
    _make_events()
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    for what, rows in KEPT_HERE.items():
        op.execute(REFUSE.format(what=what, rows=rows))
    _drop_events()
    op.execute("REVOKE SELECT (name) ON credential_profile FROM backupflow_scheduler")
    op.execute("DELETE FROM job WHERE name = 'compact'")
    op.drop_index("ix_request_collection_id", table_name="request")
    op.execute("DELETE FROM job WHERE name = 'watch'")
    op.drop_index("ix_collection_change", table_name="collection")
    op.drop_index("ix_device_unreachable", table_name="device")
    op.drop_index("ix_device_maintenance", table_name="device")
    op.drop_index("ix_device_site_id", table_name="device")
    op.drop_index("ix_collection_login", table_name="collection")
    for table, name in CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)
