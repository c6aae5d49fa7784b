"""What a row keeps of an observation, to be compared with a later one: core.suspicion.Observed <-> columns.

The JSON document `facts` is {version, model, serial, system_id, identity, markers, sections, size, secret_count,
secrets, known_serial, end_mark, who}, the last one where it was asked. Rows from before the second migration have less
of it and no `shape_hash`: of those nothing is compared but the serial number, so that another router is seen on the
first run after the upgrade too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.core.driver import Facts
from backupflow.core.model import ContentHash, Secrets
from backupflow.core.suspicion import Known, Observed
from backupflow.errors import MessageMalformed

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.ledger import Published

_LONGEST_TEXT = 2000  # characters
_NAMED = ("version", "model", "serial", "system_id", "identity")
# What `columns` fills; each has its value in the statement under its own name.
SET = """collected_at = clock_timestamp(), content_hash = :content_hash, digest = :digest,
        normalization_version = :normalization_version, shape_hash = :shape_hash, masked_hash = :masked_hash,
        raw_bytes = :raw_bytes, command = :command, exit_status = :exit_status, facts = CAST(:facts AS jsonb)"""
_OBSERVED = "c.seq, c.content_hash, c.normalization_version, c.shape_hash, c.masked_hash, c.facts"
# The newest that was accepted, whether or not ingest has it by now.
_ACCEPTED = text(f"""
    SELECT {_OBSERVED} FROM collection c
    WHERE c.device_id = :device AND c.state IN ('published', 'stored') AND c.seq > :since
    ORDER BY c.seq DESC LIMIT 1""")
_SUSPECT = text(f"""
    SELECT {_OBSERVED} FROM collection c
    WHERE c.device_id = :device AND c.state = 'suspect' AND c.seq > :since AND c.shape_hash IS NOT NULL
    ORDER BY c.seq DESC LIMIT 1""")


def storable(said: str) -> str:
    """What a router said may hold what PostgreSQL's text cannot: NUL, lone surrogates; and no end."""
    return said[:_LONGEST_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def columns(published: Published) -> dict[str, Any]:
    """The values of `SET`."""
    observed = published.observed
    facts: dict[str, Any] = {name: _stored(getattr(observed.facts, name)) for name in _NAMED}
    facts |= {
        "markers": [storable(marker) for marker in observed.facts.markers],
        "sections": observed.sections,
        "size": observed.size,
        "secret_count": observed.secret_count,
        "secrets": observed.secrets,
        "known_serial": _stored(observed.known_serial),
        "end_mark": published.end_mark,
    }
    if published.who:
        facts["who"] = published.who
    return {
        "content_hash": observed.content_hash,
        "digest": published.digest,
        "normalization_version": observed.normalization_version,
        "shape_hash": observed.shape_hash,
        "masked_hash": observed.masked_hash,
        "raw_bytes": published.raw_bytes,
        "command": published.command,
        "exit_status": published.exit_status,
        "facts": json.dumps(facts),
    }


def known_of(tx: Connection, device_id: UUID, router_since_seq: int, believe_seq: int, vendor: str) -> Known:
    """The last accepted observation of this router, the newest suspect one since, and whether the next is believed.

    Nothing up to `router_since_seq` is this router's. `believe_seq` is spent by whatever was accepted after it.
    Raises MessageMalformed if what is kept cannot be read.
    """
    accepted = tx.execute(_ACCEPTED, {"device": device_id, "since": router_since_seq}).one_or_none()
    since = accepted.seq if accepted else router_since_seq
    suspect = tx.execute(_SUSPECT, {"device": device_id, "since": since}).one_or_none()
    return Known(_observed(accepted, vendor), _observed(suspect, vendor), believe_seq > since)


def _stored(fact: str | None) -> str | None:
    return None if fact is None else storable(fact)


def _text(fact: object) -> str | None:
    if fact is None or isinstance(fact, str):
        return fact
    raise TypeError


def _texts(facts: object) -> tuple[str, ...]:
    if isinstance(facts, list) and all(isinstance(fact, str) for fact in facts):
        return tuple(facts)
    raise TypeError


def _observed(row: Row[Any] | None, vendor: str) -> Observed | None:
    if row is None:
        return None
    try:
        facts = row.facts
        if row.shape_hash is None:
            return _of_before(row, vendor)
        return Observed(
            ContentHash(bytes(row.content_hash)),
            row.normalization_version,
            bytes(row.shape_hash),
            bytes(row.masked_hash),
            int(facts["sections"]),
            int(facts["size"]),
            int(facts["secret_count"]),
            Secrets(facts["secrets"]),
            Facts(vendor, **{name: _text(facts[name]) for name in _NAMED}, markers=_texts(facts["markers"])),
            _text(facts["known_serial"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as exc:
        raise MessageMalformed(f"what is kept of observation {row.seq} cannot be read") from exc


def _of_before(row: Row[Any], vendor: str) -> Observed | None:
    """A row from before the second migration; one that names no serial number has nothing to be compared.

    Its markers were not kept: `shape_hash` b"" says that they are unknown, not that there were none.
    """
    facts = row.facts or {}
    if not (serial := _text(facts.get("serial"))):
        return None
    named = Facts(vendor, version=_text(facts.get("version")), serial=serial)
    was = ContentHash(bytes(row.content_hash))
    return Observed(was, row.normalization_version, b"", b"", 0, 0, 0, Secrets.NONE, named, serial)
