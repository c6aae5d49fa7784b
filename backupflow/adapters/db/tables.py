"""The only schema. Times are PostgreSQL's; a table that belongs to a tenant carries it in every key.

Composite foreign keys (tenant_id, …) make a row of another tenant impossible to refer to (I11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

if TYPE_CHECKING:
    from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = text("now()")
_EMPTY = text("'{}'::jsonb")
OPEN = "state IN ('claimed', 'running')"


def _at(name: str, comment: str | None = None, *, needed: bool = False) -> Column[object]:
    default = {"server_default": _NOW} if needed else {}
    return Column(name, DateTime(timezone=True), nullable=not needed, comment=comment, **default)  # type: ignore[arg-type]


def _id() -> Column[object]:
    return Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()"))


def _number() -> Column[object]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _tenant() -> Column[object]:
    return Column("tenant_id", Uuid, ForeignKey("tenant.id"), nullable=False)


def _within_tenant(column: str, target: str, ondelete: str | None = None) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", column], [f"{target}.tenant_id", f"{target}.id"], use_alter=True, ondelete=ondelete
    )


def _settings() -> Column[object]:
    """What this scope sets itself; see core.scope."""
    return Column("settings", JSONB, nullable=False, server_default=_EMPTY)


tenant = Table(
    "tenant",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    Column("pepper", Text, comment="sealed; none until the keys are made"),
    Column("credential_profile_id", Uuid),
    Column("jump_host_id", Uuid),
    _settings(),
    _at("maintenance_until"),
    _at("created_at", needed=True),
    _at("removed_at"),
    _at("shredded_at", "its keys were destroyed: nothing that was sealed for it opens any more"),
    *(
        ForeignKeyConstraint(
            ["id", f"{target}_id"], [f"{target}.tenant_id", f"{target}.id"], name=f"fk_tenant_{target}", use_alter=True
        )
        for target in ("credential_profile", "jump_host")
    ),
)

transit_key = Table(
    "transit_key",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenant.id"), primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("mark", Text, nullable=False, comment="canary: HMAC of a fixed text under one of its versions"),
    _at("created_at", needed=True),
    _at("marked_at", needed=True),
    Column(
        "oldest_version",
        Integer,
        nullable=False,
        server_default="1",
        comment="what is sealed under an older one is not taken in any more",
    ),
    CheckConstraint("purpose IN ('credentials', 'data', 'pepper')", name="purpose"),
)

credential_profile = Table(
    "credential_profile",
    metadata,
    _id(),
    _tenant(),
    Column("name", Text),
    Column("device_id", Uuid, comment="a device's own login, which has no name"),
    Column("username", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("sealed", Text, nullable=False, comment="sealed for this profile, or for the device whose own login it is"),
    _settings(),
    _at("suspended_at"),
    Column("suspended_reason", Text),
    _at("trial_at", "suspended since many devices refused it: when one tries it again"),
    Column("trials", Integer, nullable=False, server_default="0"),
    _at("proved_at", "when a trial ended the last such suspension"),
    # The login that is to take the place of this one, while it is rotated.
    Column("next_username", Text),
    Column("next_method", Text),
    Column("next_sealed", Text, comment="sealed for this profile, while it is rotated"),
    _at("next_changed_at"),
    _at("created_at", needed=True),
    _at("changed_at", needed=True),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    UniqueConstraint("device_id"),
    _within_tenant("device_id", "device"),
    CheckConstraint("(name IS NULL) <> (device_id IS NULL)", name="owner"),
    CheckConstraint("method IN ('password', 'key')", name="method"),
    CheckConstraint("next_method IN ('password', 'key')", name="next_method"),
    CheckConstraint(
        "num_nulls(next_username, next_method, next_sealed, next_changed_at) IN (0, 4) "
        "AND (next_sealed IS NULL OR name IS NOT NULL)",
        name="next",
    ),
    CheckConstraint("trial_at IS NULL OR suspended_at IS NOT NULL", name="trial"),
)

jump_host = Table(
    "jump_host",
    metadata,
    _id(),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False, server_default="22"),
    Column("credential_profile_id", Uuid),
    _settings(),
    # Whether it can be passed: its devices wait for it, and nothing counts against them.
    Column("failures", Integer, nullable=False, server_default="0"),
    _at("down_since"),
    Column("retry_at", DateTime(timezone=True), comment="until then nobody tries it"),
    Column("blocked_code", Text),
    Column("blocked_detail", Text),
    _at("blocked_at"),
    _at("reached_at"),
    _at("created_at", needed=True),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    _within_tenant("credential_profile_id", "credential_profile"),
    CheckConstraint("port BETWEEN 1 AND 65535", name="port"),
)


def _direct() -> Column[object]:
    return Column(
        "jump_direct",
        Boolean,
        nullable=False,
        server_default=text("false"),
        comment="reached without a jump host, whatever the scopes above say",
    )


def _way() -> CheckConstraint:
    return CheckConstraint("NOT jump_direct OR jump_host_id IS NULL", name="way")


def _scope(name: str, *more: SchemaItem) -> Table:
    return Table(
        name,
        metadata,
        _id(),
        _tenant(),
        Column("name", Text, nullable=False),
        Column("credential_profile_id", Uuid),
        Column("jump_host_id", Uuid),
        _settings(),
        _at("maintenance_until"),
        _at("created_at", needed=True),
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("tenant_id", "name"),
        _within_tenant("credential_profile_id", "credential_profile"),
        _within_tenant("jump_host_id", "jump_host"),
        *more,
    )


site = _scope(
    "site",
    _at("down_since", "since when its devices went away together"),
    _at("probe_at", "when one of its devices is tried next"),
    Column("probes", Integer, nullable=False, server_default="0"),
)
device_group = _scope("device_group", _direct(), _way())

device = Table(
    "device",
    metadata,
    _id(),
    _tenant(),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False, server_default="22"),
    Column("driver", Text, nullable=False, server_default="routeros"),
    Column("status", Text, nullable=False, server_default="active"),
    Column("site_id", Uuid),
    Column("device_group_id", Uuid),
    Column("credential_profile_id", Uuid),
    Column("jump_host_id", Uuid),
    _direct(),
    Column("via_id", Uuid, comment="the jump host that is used: a trigger's"),
    Column("source", Text, comment="the inventory that it came from"),
    _settings(),
    Column("lane", Text, nullable=False, server_default="collect"),
    # When it is due: `anchor_at` is its phase, `next_due_at` the next run; see core.cadence.
    _at("anchor_at", needed=True),
    _at("next_due_at"),
    _at("maintenance_until"),
    # How it is met: whether it answers, and how often it was connected to lately.
    _at("answered_at", "when it last said anything at all"),
    _at("unreachable_since"),
    _at("probed_at", "when it was last knocked at, out of the collections"),
    _at("offline_since", "when a poller's word first kept it from being collected"),
    _at("met_at", "the last connection to it: see core.firewall"),
    _at("hold_until", "nothing that comes by itself connects before"),
    _at("wary_until", "one more connection before might get our address banned"),
    # Which of two logins works, while they are rotated.
    Column("login_on", Text, nullable=False, server_default="current"),
    Column("refused_on", Text, comment="which of two logins it has refused"),
    _at("login_since", "since when that login has worked; not known to, since its rotation began, if null"),
    _at("refused_at", "a refusal that did not block it, since its login was suspended"),
    # Why it is not claimed, and what counts against it.
    Column("paused_reason", Text),
    Column("blocked_code", Text),
    Column("blocked_detail", Text),
    _at("blocked_at"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    # What is known of the router itself: forgotten when another one takes its place.
    Column("remembered_command", Text),
    Column(
        "router_since_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="observations up to this one are of an earlier router: never compared with",
    ),
    Column(
        "end_mark",
        Text,
        nullable=False,
        server_default="untried",
        comment="what is known of the router's habit to repeat one",
    ),
    Column(
        "believe_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="an operator said then that the next export is to be believed; spent by a later accepted one",
    ),
    Column(
        "modern_ssh_at",
        DateTime(timezone=True),
        comment="since when SHA-1 is out of the question for this router",
    ),
    # Its sequence of observations.
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("kept_from_seq", BigInteger, nullable=False, server_default="0"),
    Column("current_seq", BigInteger, nullable=False, server_default="0"),
    Column(
        "unreadable_to_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="what was sealed up to this one was given up with the keys that it was sealed with",
    ),
    Column(
        "unhashed_to_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="the hashes up to this one are under a pepper that was given up: they say nothing any more",
    ),
    _at("history_verified_at"),
    Column(
        "compacted_to_seq",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="up to this one collections that say nothing more were taken away",
    ),
    _at("compacted_at"),
    _at("flapping_since", "it changes without end: collected once a day until a day stays within the quota"),
    Column("current_collection_id", BigInteger),
    _at("created_at", needed=True),
    _at("removed_at"),
    UniqueConstraint("tenant_id", "id"),
    Index("uq_device_name", "tenant_id", "name", unique=True, postgresql_where=text("status <> 'removed'")),
    Index(
        "uq_device_address",
        "tenant_id",
        "via_id",
        "host",
        "port",
        unique=True,
        postgresql_where=text("status <> 'removed'"),
        postgresql_nulls_not_distinct=True,
    ),
    Index("ix_device_via_id", "via_id"),
    Index("ix_device_site_id", "site_id"),
    Index(
        "ix_device_maintenance",
        "id",
        postgresql_where=text("settings ? 'maintenance' OR maintenance_until IS NOT NULL"),
    ),
    Index("ix_device_unreachable", "unreachable_since", postgresql_where=text("unreachable_since IS NOT NULL")),
    Index("ix_device_due", "next_due_at", postgresql_where=text("status = 'active' AND blocked_code IS NULL")),
    _within_tenant("site_id", "site"),
    _within_tenant("device_group_id", "device_group"),
    _within_tenant("credential_profile_id", "credential_profile"),
    _within_tenant("jump_host_id", "jump_host"),
    _within_tenant("via_id", "jump_host"),
    _way(),
    ForeignKeyConstraint(
        ["tenant_id", "id", "current_collection_id"],
        ["collection.tenant_id", "collection.device_id", "collection.id"],
        name="fk_device_current_collection",
        ondelete="RESTRICT",
        use_alter=True,
    ),
    CheckConstraint("status IN ('active', 'paused', 'removed')", name="status"),
    CheckConstraint("lane IN ('collect', 'collect.slow')", name="lane"),
    CheckConstraint("login_on IN ('current', 'next')", name="login_on"),
    CheckConstraint("refused_on IN ('current', 'next')", name="refused_on"),
    CheckConstraint("end_mark IN ('untried', 'repeated', 'required', 'absent')", name="end_mark"),
    CheckConstraint("port BETWEEN 1 AND 65535", name="port"),
)

host_key = Table(
    "host_key",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid),
    Column("jump_host_id", Uuid),
    Column("status", Text, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("blob", LargeBinary, nullable=False),
    Column("fingerprint", Text, nullable=False),
    _at("first_seen_at", needed=True),
    _at("last_seen_at", needed=True),
    _at("last_verified_at"),
    Column("trusted_how", Text, comment="of a pin, also a retired one"),
    Column("trusted_by", Text),
    _at("trusted_at"),
    _within_tenant("device_id", "device"),
    _within_tenant("jump_host_id", "jump_host", ondelete="CASCADE"),
    CheckConstraint("(device_id IS NULL) <> (jump_host_id IS NULL)", name="owner"),
    CheckConstraint("status IN ('pinned', 'offered', 'retired')", name="status"),
    CheckConstraint(
        "trusted_how IN ('first_use', 'approved', 'accepted', 'import', 'known_hosts')", name="trusted_how"
    ),
    Index("uq_host_key_pinned", "device_id", unique=True, postgresql_where=text("status = 'pinned'")),
    Index(
        "uq_host_key_offered",
        "device_id",
        "key_type",
        "blob",
        unique=True,
        postgresql_where=text("status = 'offered'"),
    ),
    Index("ix_host_key_device_id", "device_id"),
    Index("ix_host_key_jump_host_id", "jump_host_id"),
    Index("uq_host_key_hop_pinned", "jump_host_id", unique=True, postgresql_where=text("status = 'pinned'")),
    Index(
        "uq_host_key_hop_offered",
        "jump_host_id",
        "key_type",
        "blob",
        unique=True,
        postgresql_where=text("status = 'offered'"),
    ),
)

# The only keys that may be pinned at first sight, where there are any: of them more is not known than what ssh-keygen
# prints.
expected_key = Table(
    "expected_key",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid),
    Column("jump_host_id", Uuid),
    Column("fingerprint", Text, nullable=False),
    Column("key_type", Text, comment="where it is known"),
    Column("how", Text, nullable=False),
    Column("added_by", Text, nullable=False),
    _at("created_at", needed=True),
    UniqueConstraint("device_id", "fingerprint"),
    UniqueConstraint("jump_host_id", "fingerprint"),
    _within_tenant("device_id", "device"),
    _within_tenant("jump_host_id", "jump_host", ondelete="CASCADE"),
    CheckConstraint("(device_id IS NULL) <> (jump_host_id IS NULL)", name="owner"),
    CheckConstraint("how IN ('approved', 'import', 'known_hosts')", name="how"),
    CheckConstraint("fingerprint LIKE 'SHA256:%'", name="fingerprint"),
)

content = Table(
    "content",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid, nullable=False),
    Column("normalization_version", Integer, nullable=False),
    Column("content_hash", LargeBinary, nullable=False, comment="keyed: HMAC-SHA-256 under the tenant's pepper"),
    Column("sealed", Text, nullable=False),
    Column("raw_bytes", Integer, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    # What a newer normalizer makes of it, until all of its device is ready to be rewritten at once.
    Column("next_version", Integer),
    Column("next_hash", LargeBinary),
    Column("next_shape_hash", LargeBinary),
    Column("next_masked_hash", LargeBinary),
    _at("verified_at"),
    _at("created_at", needed=True),
    UniqueConstraint("tenant_id", "device_id", "id"),
    UniqueConstraint("tenant_id", "device_id", "normalization_version", "content_hash"),
    _within_tenant("device_id", "device"),
    CheckConstraint("sealed LIKE 'vault:v%'", name="sealed"),
    Index("ix_content_verified", text("verified_at NULLS FIRST"), "id"),
)

collection = Table(
    "collection",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="claimed"),
    Column("code", Text, comment="why it ended as it did"),
    Column("detail", Text),
    _at("claimed_at", needed=True),
    _at("emitted_at", needed=True),
    Column("emits", Integer, nullable=False, server_default="1"),
    _at("started_at"),
    Column("holder", Text),
    _at("lease_until"),
    # Written at the fence, running -> published, or with what is kept aside.
    _at("collected_at"),
    Column("content_hash", LargeBinary),
    Column("shape_hash", LargeBinary, comment="keyed: of the paths and their items' number"),
    Column("masked_hash", LargeBinary, comment="keyed: of the text without its secrets"),
    Column("digest", LargeBinary, comment="SHA-256 of the sealed text"),
    Column("normalization_version", Integer),
    Column("raw_bytes", Integer),
    Column("command", Text),
    Column("exit_status", BigInteger, comment="a uint32 on the wire (RFC 4254, section 6.10)"),
    Column("facts", JSONB),
    Column("report", JSONB, comment="what a test or a scan found"),
    Column("login_id", Uuid, comment="whose login was sent"),
    Column("login_on", Text),
    _at("login_sent_at"),
    Column("via_id", Uuid, comment="the jump host on its way"),
    # Written by ingest.
    _at("stored_at"),
    Column("content_id", BigInteger),
    Column("is_change", Boolean, comment="differs from the observation just before it; null: undecided"),
    Column("interpreted_after_seq", BigInteger, comment="the predecessor of the interpretation that was made"),
    Column("interpret_tries", Integer, nullable=False, server_default="0"),
    _at("interpret_until", "somebody interprets it"),
    Column("log_sealed", Text, comment="what the router's own log of changes said, sealed for the device"),
    _at("ended_at"),
    Column(
        "compacted",
        Integer,
        nullable=False,
        server_default="0",
        comment="how many with the same outcome were taken away just before it",
    ),
    UniqueConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "device_id", "id"),
    UniqueConstraint("device_id", "seq"),
    _within_tenant("device_id", "device"),
    ForeignKeyConstraint(
        ["tenant_id", "device_id", "content_id"],
        ["content.tenant_id", "content.device_id", "content.id"],
        name="fk_collection_content",
        ondelete="RESTRICT",
    ),
    CheckConstraint(
        "state IN ('claimed', 'running', 'published', 'stored', 'withdrawn', "
        "'lost', 'failed', 'blocked', 'suspect', 'tested')",
        name="state",
    ),
    CheckConstraint("lane IN ('collect.now', 'collect', 'collect.slow')", name="lane"),
    CheckConstraint("state <> 'running' OR (holder IS NOT NULL AND lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("state <> 'stored' OR (content_id IS NOT NULL AND digest IS NOT NULL)", name="stored"),
    CheckConstraint("login_on IN ('current', 'next')", name="login_on"),
    Index("ix_collection_login", "login_id", "login_sent_at", postgresql_where=text("login_sent_at IS NOT NULL")),
    Index("uq_collection_open", "device_id", unique=True, postgresql_where=text(OPEN)),
    Index("ix_collection_unfinished", "state", "lane", postgresql_where=text(f"{OPEN} OR state = 'published'")),
    Index("ix_collection_stored", "device_id", "seq", postgresql_where=text("state = 'stored'")),
    Index("ix_collection_change", "device_id", postgresql_where=text("state = 'stored' AND is_change")),
    Index("ix_collection_content_id", "content_id", postgresql_where=text("content_id IS NOT NULL")),
    Index(
        "ix_collection_uninterpreted",
        "id",
        postgresql_where=text("state = 'stored' AND is_change IS NOT FALSE AND interpreted_after_seq IS NULL"),
    ),
    CheckConstraint("log_sealed LIKE 'vault:v%'", name="log_sealed"),
)

# What one change is, against the observation before it. Only names of menus, kinds and counts are in clear.
interpretation = Table(
    "interpretation",
    metadata,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    _tenant(),
    Column("device_id", Uuid, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("after_seq", BigInteger, nullable=False, comment="what it is compared with; 0: nothing was before it"),
    _at("at", "when it was collected", needed=True),
    Column("normalization_version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default="", comment="why it is unread or coarse"),
    Column("lines_added", Integer, nullable=False, server_default="0"),
    Column("lines_removed", Integer, nullable=False, server_default="0"),
    Column("changes", Integer, nullable=False, server_default="0", comment="without those that are ignored"),
    Column("ignored", Integer, nullable=False, server_default="0"),
    Column("components", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("touched", JSONB, nullable=False, server_default=text("'[]'::jsonb"), comment="keyed hashes of its items"),
    Column("changes_sealed", Text),
    Column("diff_sealed", Text),
    _at("created_at", needed=True),
    ForeignKeyConstraint(
        ["tenant_id", "device_id", "collection_id"],
        ["collection.tenant_id", "collection.device_id", "collection.id"],
        name="fk_interpretation_collection",
        ondelete="CASCADE",
    ),
    CheckConstraint("kind IN ('first', 'change', 'upgrade', 'secrets', 'order', 'unread')", name="kind"),
    CheckConstraint("changes_sealed LIKE 'vault:v%'", name="changes_sealed"),
    CheckConstraint("diff_sealed LIKE 'vault:v%'", name="diff_sealed"),
    Index("ix_interpretation_device_id_seq", "device_id", "seq", unique=True),
    Index("ix_interpretation_tenant_id_at", "tenant_id", "at"),
)

# What stays in the snapshots and out of the timeline; the device, or a group, or else the whole tenant.
ignore_rule = Table(
    "ignore_rule",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid),
    Column("device_group_id", Uuid),
    Column("component", Text, nullable=False),
    Column("property", Text, nullable=False, comment="*: any"),
    Column("identity", Text, comment="a pattern with * and ? for the item; null: any"),
    Column("added_by", Text, nullable=False),
    _at("created_at", needed=True),
    _within_tenant("device_id", "device", ondelete="CASCADE"),
    _within_tenant("device_group_id", "device_group", ondelete="CASCADE"),
    CheckConstraint("num_nonnulls(device_id, device_group_id) <= 1", name="scope"),
    Index(
        "uq_ignore_rule",
        "tenant_id",
        "device_id",
        "device_group_id",
        "component",
        "property",
        "identity",
        unique=True,
        postgresql_nulls_not_distinct=True,
    ),
)

# Copies of the whole system that somebody made; where they are kept is theirs to know.
system_backup = Table(
    "system_backup",
    metadata,
    _number(),
    _at("made_at", needed=True),
    Column("made_by", Text, nullable=False),
    Column("revision", Text, nullable=False, comment="of the schema"),
    Column("bytes", BigInteger, nullable=False),
)

# What is written each day for the day on which nothing of ours is left; one file a tenant, for its own recipients.
escrow = Table(
    "escrow",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True),
    Column("recipients", ARRAY(Text), nullable=False, comment="public keys of age"),
    Column("folder", Text, comment="none: CONFIG_ESCROW_DIR"),
    Column("enabled_by", Text, nullable=False),
    _at("enabled_at", needed=True),
    _at("filed_at", "the newest file, whole or not"),
    _at("written_at", "the newest whole file"),
    _at("asked_at", "it is to be written though it is not due"),
    Column("devices", Integer),
    Column("bytes", BigInteger),
    CheckConstraint("cardinality(recipients) > 0", name="recipients"),
)

aside = Table(
    "aside",
    metadata,
    # Whole exports that may not become the current one; no content, and never made one.
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    _tenant(),
    Column("device_id", Uuid, nullable=False),
    Column("sealed", Text, nullable=False),
    _at("created_at", needed=True),
    _at("verified_at"),
    ForeignKeyConstraint(
        ["tenant_id", "device_id", "collection_id"],
        ["collection.tenant_id", "collection.device_id", "collection.id"],
        name="fk_aside_collection",
        ondelete="CASCADE",
    ),
    CheckConstraint("sealed LIKE 'vault:v%'", name="sealed"),
    Index(None, "device_id", "collection_id"),
)

request = Table(
    "request",
    metadata,
    _number(),
    _tenant(),
    Column("device_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False, server_default="backup"),
    Column("forced", Boolean, nullable=False, server_default=text("false")),
    Column("requested_by", Text, nullable=False),
    _at("requested_at", needed=True),
    Column("collection_id", BigInteger),
    _at("answered_at"),
    Column("answer", Text, comment="claimed, attached, or refused with a reason"),
    _within_tenant("device_id", "device"),
    ForeignKeyConstraint(["tenant_id", "collection_id"], ["collection.tenant_id", "collection.id"], ondelete="CASCADE"),
    CheckConstraint("kind IN ('backup', 'test', 'scan')", name="kind"),
    Index("ix_request_waiting", "requested_at", postgresql_where=text("answered_at IS NULL")),
    Index("ix_request_collection_id", "collection_id"),
)

job = Table(
    "job",
    metadata,
    Column("name", Text, primary_key=True),
    Column("every", Interval, nullable=False),
    _at("due_at", needed=True),
    _at("claimed_at"),
    _at("finished_at"),
    Column("outcome", Text),
    _at("completed_at"),
    Column("noted", JSONB, comment="what a run leaves to the next one"),
    _at("created_at", needed=True),
)

process = Table(
    "process",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("role", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("slots", JSONB, nullable=False, server_default=_EMPTY, comment="lane -> how many at a time"),
    _at("started_at", needed=True),
    _at("heartbeat_at", needed=True),
    Column("queues", JSONB, nullable=False, server_default=text("'[]'::jsonb"), comment="that it takes tasks from"),
    _at("worked_at"),
)

# One question a queue, sent as a task: whether somebody who listens there still hears.
queue_canary = Table(
    "queue_canary",
    metadata,
    Column("queue", Text, primary_key=True),
    _at("asked_at", needed=True),
    _at("emitted_at", needed=True),
    _at("answered_at"),
)

alarm = Table(
    "alarm",
    metadata,
    _number(),
    Column("tenant_id", Uuid, ForeignKey("tenant.id")),
    Column("code", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    _at("since", needed=True),
    _at("cleared_at"),
    Index("uq_alarm_standing", "code", "scope", unique=True, postgresql_where=text("cleared_at IS NULL")),
)

quarantine = Table(
    "quarantine",
    metadata,
    _number(),
    Column("tenant_id", Uuid, comment="as the message claims; not trusted, hence no reference"),
    Column("device_id", Uuid, comment="as the message claims, like its tenant"),
    Column("reason", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", LargeBinary, comment="none if the quarantine was full"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the payload"),
    _at("received_at", needed=True),
    _at("released_at"),
    Column("released_by", Text),
    UniqueConstraint("digest", "reason"),
    Index("ix_quarantine_released", "id", postgresql_where=text("released_at IS NOT NULL")),
)

# What is told to others: made of rows of the outbox, and sent as it is until it was taken. Its id is told with it.
event = Table(
    "event",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("tenant_id", Uuid, ForeignKey("tenant.id")),
    Column("kind", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("place", Text, nullable=False, comment="a site, jump host or login; empty: none, or all of them"),
    Column("body", Text, nullable=False, comment="JSON, byte for byte as it is signed and sent, but for `sealed`"),
    Column("device_id", Uuid, comment="whose `sealed` is"),
    Column("sealed", Text, comment="what of a configuration is told with it, sealed for the device"),
    _at("created_at", needed=True),
    _at("due_at", needed=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _at("failing_since"),
    _at("tried_at"),
    Column("answer", Text, comment="what came of the last attempt"),
    _at("sent_at"),
    _at("given_up_at"),
    Index("ix_event_told", "kind", "code", "created_at"),
    Index("ix_event_unsent", "number", postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL")),
    CheckConstraint("sealed LIKE 'vault:v%'", name="sealed"),
    CheckConstraint("sealed IS NULL OR device_id IS NOT NULL", name="whose"),
)

# What happened that others may want to be told of, written in the transaction in which it did. Of an alarm a trigger
# does it: one row when it is raised, one when it is cleared.
outbox = Table(
    "outbox",
    metadata,
    _number(),
    Column("tenant_id", Uuid, ForeignKey("tenant.id")),
    Column("kind", Text, nullable=False, comment="raised or cleared, of an alarm; else a kind of event"),
    Column("key", Text, nullable=False, unique=True, comment="of what happened: it is told once"),
    Column("alarm_id", BigInteger, ForeignKey("alarm.id", ondelete="CASCADE")),
    Column("payload", JSONB, nullable=False, server_default=_EMPTY),
    Column("device_id", Uuid, comment="whose `sealed` is"),
    Column("sealed", Text, comment="what of a configuration is to be told, sealed for the device"),
    _at("created_at", needed=True),
    _at("due_at", "not looked at before; null: soon after it was written"),
    Column("event_id", Uuid, ForeignKey("event.id", ondelete="CASCADE"), comment="that tells of it; null: it waits"),
    Index("ix_outbox_waiting", "id", postgresql_where=text("event_id IS NULL")),
    Index("ix_outbox_alarm_id", "alarm_id"),
    Index("ix_outbox_event_id", "event_id"),
    CheckConstraint("sealed LIKE 'vault:v%'", name="sealed"),
    CheckConstraint("sealed IS NULL OR device_id IS NOT NULL", name="whose"),
)

audit = Table(
    "audit",
    metadata,
    _number(),
    _at("at", needed=True),
    Column("tenant_id", Uuid, comment="no reference: an act outlives what it was done to"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("device_id", Uuid),
    Column("detail", JSONB, nullable=False, server_default=_EMPTY),
    Column("previous", LargeBinary, nullable=False, comment="digest of the row before"),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 over previous and this row"),
)
