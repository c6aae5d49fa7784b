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

# What the version before cannot say: it would send a login that waits, or leave a successor behind that nobody opens.
KEPT_HERE = {
    "logins are being rotated": "credential_profile WHERE next_sealed IS NOT NULL",
    "logins wait since many devices refused them": "credential_profile WHERE trial_at IS NOT NULL",
    "backups are forced": "request WHERE forced AND collection_id IS NULL",
    "probes, trials and forced backups run":
        "collection WHERE trigger IN ('probe', 'trial', 'forced') AND state IN ('claimed', 'running')",
    **{
        f"a {table} has a timetable or maintenance windows": f"{table} WHERE settings ?| ARRAY['cron', 'maintenance']"
        for table in ("tenant", "site", "device_group", "device")
    },
}  # fmt: skip
REFUSE = """
    DO $$ BEGIN IF EXISTS (SELECT 1 FROM {rows}) THEN
        RAISE EXCEPTION 'the version before knows nothing of it: {what}; end that first, or restore the backup of then';
    END IF; END $$"""
SCOPES = ("tenant", "site", "device_group", "device")
CONTACT = (
    "answered_at, unreachable_since, probed_at, met_at, hold_until, wary_until, login_on, refused_on, refused_at, "
    "login_since"
)
SUSPENSION = "suspended_at, suspended_reason, trial_at, trials, proved_at"
GRANTS = (
    *(f"GRANT UPDATE (maintenance_until) ON {table} TO backupflow_scheduler" for table in SCOPES),
    "GRANT UPDATE (probe_at, probes) ON site TO backupflow_scheduler",
    "GRANT UPDATE (offline_since) ON device TO backupflow_scheduler",
    "GRANT SELECT (name, trial_at, trials), UPDATE (trial_at, trials) ON credential_profile TO backupflow_scheduler",
    "GRANT UPDATE (down_since, probe_at, probes) ON site TO backupflow_collector",
    f"GRANT UPDATE ({CONTACT}) ON device TO backupflow_collector",
    f"GRANT UPDATE ({SUSPENSION}) ON credential_profile TO backupflow_collector",
    "GRANT UPDATE (login_id, login_on, login_sent_at, via_id) ON collection TO backupflow_collector",
    *(
        "GRANT SELECT (next_username, next_method, next_changed_at, trial_at, trials, proved_at) ON credential_profile "
        f"TO backupflow_{role}"
        for role in ("reader", "operator")
    ),
    "GRANT SELECT (next_sealed), UPDATE (next_sealed) ON credential_profile TO backupflow_operator",
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
        "ix_collection_change", "collection", ["device_id"], postgresql_where=sa.text("state = 'stored' AND is_change")
    )
    op.create_index("ix_request_collection_id", "request", ["collection_id"])
    op.execute("INSERT INTO job (name, every) VALUES ('compact', interval '1 day')")
    for statement in GRANTS:
        op.execute(statement)


def downgrade() -> None:
    for what, rows in KEPT_HERE.items():
        op.execute(REFUSE.format(what=what, rows=rows))
    op.execute("REVOKE SELECT (name) ON credential_profile FROM backupflow_scheduler")
    op.execute("DELETE FROM job WHERE name = 'compact'")
    op.drop_index("ix_request_collection_id", table_name="request")
    op.drop_index("ix_collection_change", table_name="collection")
    op.drop_index("ix_device_site_id", table_name="device")
    op.drop_index("ix_collection_login", table_name="collection")
    for table, name in CHECKS:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)
