"""What an operator has done while a session ran: its assignment beside what stands now, under the device's lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from backupflow.adapters.db import host_keys
from backupflow.adapters.db.effective import LOGIN, SETTINGS, usable_policy
from backupflow.core.model import SecretsPolicy, Trust
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    InputInvalid,
    SshDowngraded,
)

if TYPE_CHECKING:
    from backupflow.core.jump import JumpHost
    from backupflow.core.ledger import Assignment
    from backupflow.core.scope import Policy

# Where a session connected to, and by which way: still as it was assigned (values: `as_assigned`). A jump host that has
# another address leads to another network, where another router may have the device's address.
THERE = """((d.host, d.port) = (:host, :port) AND d.via_id IS NOT DISTINCT FROM CAST(:via AS uuid)
    AND (h.host, h.port) IS NOT DISTINCT FROM (CAST(:via_host AS text), CAST(:via_port AS integer)))"""


def same(login: str, which: str = "") -> str:
    """SQL: whether the login of this name is the one that was assigned (values: `as_sealed`); `next_`: its next one.

    A shared one keeps its id when it is edited. The same login under a newer version of its key is no other one.
    """
    sealed = f"{login}.{which}sealed"
    return f"""({login}.id = :login AND {login}.{which}username = :username AND {login}.{which}changed_at = :changed_at
    AND ({sealed} = :sealed OR CAST(substring({sealed} FROM '^vault:v([1-9][0-9]*):') AS bigint) > :version))"""


def same_login(login: str) -> str:
    """SQL: whether the login of this name is, or is to become, the one that was assigned (values: `as_sealed`).

    While it is rotated there are two; the next one stays the same when it takes the place of the current one.
    """
    return f"({same(login)} OR coalesce({same(login, 'next_')}, false))"


_NOW = text(f"""
    SELECT d.status = 'removed' AS removed, NOT {THERE} AS moved,
        d.router_since_seq >= :seq AS replaced, d.believe_seq >= :seq AS believed,
        d.modern_ssh_at IS NOT NULL AS modern,
        coalesce(l.id, :login) IS NOT NULL AND {same_login("l")} IS NOT TRUE AS other_login,
        {SETTINGS}
    FROM device d {LOGIN}
    WHERE d.id = :device""")

_MODERN = text("UPDATE device SET modern_ssh_at = now() WHERE id = :device AND modern_ssh_at IS NULL")


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What is another now than when the session began; `unusable`: the settings make no sense any more."""

    removed: bool
    moved: bool  # to another address or port, or behind another jump host, or that was
    replaced: bool  # the router
    believed: bool  # an operator said so of the next export
    other_login: bool
    other_pin: bool  # or other keys that are expected while none is pinned
    modern: bool  # SHA-1 is out of the question, as the device stands now
    trust: Trust | None = None  # of first keys; None: unusable
    allows_sha1: bool = False
    trusts_first: bool = False
    omits: bool = False
    unusable: bool = False

    @property
    def elsewhere(self) -> bool:
        """Whether what the session spoke with says nothing of the device any more."""
        return self.removed or self.moved

    @property
    def another(self) -> bool:
        """Whether what it said of a login says nothing of the one that the device has now."""
        return self.other_login or self.elsewhere or self.replaced

    def answers(self, code: str) -> bool:
        """Whether an act has taken away what the session failed for, so that its failure is nobody's any more."""
        if self.elsewhere or self.replaced:
            return True
        by_code = {
            AuthenticationFailed.code: self.other_login,
            HostKeyMismatch.code: self.other_pin,
            HostKeyUnapproved.code: self.other_pin or self.trusts_first,
            AlgorithmsIncompatible.code: self.allows_sha1,
            SshDowngraded.code: self.allows_sha1 or not self.modern,
            ExportSuspect.code: self.believed,
        }
        return by_code.get(code, False)


def as_sealed(assigned: Assignment | JumpHost) -> dict[str, Any]:
    """The values of `same_login`."""
    sealed = assigned.sealed_login
    return {
        "login": assigned.login_id,
        "username": assigned.username,
        "changed_at": assigned.login_changed_at,
        "sealed": sealed.text if sealed else None,
        "version": sealed.key_version if sealed else None,
    }


def as_assigned(assignment: Assignment) -> dict[str, Any]:
    """The values of THERE, and of `same_login`."""
    target, hop = assignment.target, assignment.jump_host
    return as_sealed(assignment) | {
        "host": target.host,
        "port": target.port,
        "via": assignment.via_id,
        "via_host": hop.target.host if hop else None,
        "via_port": hop.target.port if hop else None,
    }


def acted(tx: Connection, assignment: Assignment, defaults: Policy) -> Meanwhile:
    """Compare; the caller holds the device's lock."""
    target = assignment.target
    values: dict[str, Any] = {
        "device": assignment.device_id,
        "seq": assignment.seq,
    }
    row = tx.execute(_NOW, values | as_assigned(assignment)).one()
    other_pin = not host_keys.same_as(tx, assignment.device_id, target)
    known = (row.removed, row.moved, row.replaced, row.believed, row.other_login, other_pin, row.modern)
    try:
        policy = usable_policy(defaults, row)
    except InputInvalid:  # its next claim is withdrawn for it, with an alarm
        return Meanwhile(*known, unusable=True)
    return Meanwhile(
        *known,
        trust=policy.trust,
        allows_sha1=policy.legacy_ssh and not target.legacy_ssh,
        trusts_first=policy.trust is Trust.TOFU and assignment.trust is not Trust.TOFU,
        omits=policy.secrets is SecretsPolicy.OMIT and assignment.secrets is not SecretsPolicy.OMIT,
    )


def learn_modern(tx: Connection, assignment: Assignment, meanwhile: Meanwhile) -> None:
    """From a session that agreed on nothing but modern algorithms on: SHA-1 is out of the question for this router.

    Not if another router or address is meant by now. Nor if SHA-1 was allowed since the session began: either what it
    knew of was forgotten by that act, or the setting is new; the next session learns it anew.
    """
    forgotten = assignment.target.spoke_modern and not meanwhile.modern
    if not (meanwhile.elsewhere or meanwhile.replaced or meanwhile.allows_sha1 or forgotten):
        tx.execute(_MODERN, {"device": assignment.device_id})
