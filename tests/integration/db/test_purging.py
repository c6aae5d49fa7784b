"""History goes by somebody's word, whatever is under way: what is left is true, and quotes nothing that went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.interpretations import Interpretations
from backupflow.adapters.db.purging import Purging
from backupflow.core.interpretation import Enclosed, Interpretation, Kind
from backupflow.core.ledger import Stored
from backupflow.core.retaining import cut_at
from backupflow.errors import Conflict
from tests.integration.db.fleet import Fleet, sealed
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import Seq
    from backupflow.core.retaining import Taken


def purge(fleet: Fleet, made: list[SnapshotMessage], at: Seq | None) -> Taken:
    """As the operator."""
    desk = Purging(fleet.engine("operator"))
    return desk.purge(fleet.tenant, made[0].device_id, lambda kept: cut_at(kept, at), "me")


def test_all_goes_also_if_an_older_one_is_still_on_its_way(fleet: Fleet) -> None:
    """It comes late, and is expired: it must not become the current one."""
    (made,) = fleet.observed(["ABC"])
    fleet.observations.store([made[0], made[2]])
    assert purge(fleet, made, None).configurations == 2
    assert [fleet.sql(f"SELECT 1 FROM {table}") for table in ("collection", "content")] == [[], []]  # noqa: S608
    assert fleet.observations.store([made[1]]) == [Stored.EXPIRED]
    check(fleet)


def test_who_was_interpreting_meanwhile_writes_nothing_of_what_went(fleet: Fleet) -> None:
    """Neither it nor what it would tell, though another has taken the same since, and it is the first try of both."""
    (made,) = fleet.observed(["AB"])
    fleet.observations.store(made)
    desk = Interpretations(fleet.engine("interpreter"))
    slow = desk.take()
    assert slow is not None
    assert slow.before is not None
    purge(fleet, made, made[1].seq)
    quick = desk.take()
    assert quick is not None
    assert (quick.tries, quick.before) == (slow.tries, None)
    quoting = Enclosed(sealed("changes"), sealed("diff"), sealed("lines"))
    assert desk.write(slow, Interpretation(Kind.CHANGE, count=1, components=("user",)), quoting) is False
    assert desk.write(quick, Interpretation(Kind.FIRST), Enclosed()) is True
    assert [row.kind for row in fleet.sql("SELECT kind FROM interpretation")] == ["first"]
    assert fleet.sql("SELECT 1 FROM outbox WHERE kind = 'changed'") == []


def test_what_else_quotes_it_goes_too(fleet: Fleet) -> None:
    """The logs of its router, of later ones as well, what is to be told or was answered, and its quarantine."""
    (made,) = fleet.observed(["ABCD"])
    fleet.observations.store(made)
    ids = {"t": fleet.tenant, "d": made[0].device_id, "s": sealed("x").text}
    fleet.sql("UPDATE collection SET log_sealed = :s", s=ids["s"])
    fleet.sql("INSERT INTO outbox (tenant_id, kind, key, device_id, sealed) VALUES (:t, 'changed', 'k', :d, :s)", **ids)
    fleet.sql(
        "INSERT INTO event (id, tenant_id, kind, code, place, body, device_id, sealed, answer) "
        "VALUES (gen_random_uuid(), :t, 'changed', 'changed', '', '', :d, :s, 'HTTP 422: it echoes')", **ids,
    )  # fmt: skip
    fleet.sql(
        "INSERT INTO quarantine (tenant_id, device_id, reason, subject, payload, digest) "
        "VALUES (:t, :d, 'foreign', 's', 'p', 'd')", t=ids["t"], d=ids["d"],
    )  # fmt: skip
    purge(fleet, made, made[2].seq)
    left = fleet.sql("SELECT seq, log_sealed FROM collection ORDER BY seq")
    assert [(row.seq, row.log_sealed) for row in left] == [(3, None), (4, None)]
    assert fleet.sql("SELECT 1 FROM outbox WHERE sealed IS NOT NULL") == []
    assert fleet.sql("SELECT 1 FROM event WHERE sealed IS NOT NULL OR answer IS NOT NULL") == []
    assert fleet.sql("SELECT 1 FROM quarantine") == []
    check(fleet)


def test_a_purge_that_can_take_nothing_forgets_nothing(fleet: Fleet) -> None:
    """Where the current one is older than the history says something is wrong: `verify` tells of it."""
    (made,) = fleet.observed(["ABC"])
    fleet.observations.store(made)
    fleet.sql("UPDATE device SET current_seq = 1, current_collection_id = (SELECT id FROM collection WHERE seq = 1)")
    with pytest.raises(Conflict, match="verify"):
        purge(fleet, made, made[2].seq)
    assert len(fleet.sql("SELECT 1 FROM collection")) == 3
    assert fleet.sql("SELECT 1 FROM audit WHERE action = 'history_purged'") == []


def test_a_tenant_is_emptied_a_device_at_a_time(fleet: Fleet) -> None:
    """All that its devices had, and what comes late is expired; said twice it is done once."""
    (made,) = fleet.observed(["ABC"])
    fleet.observations.store(made[:2])
    desk = Purging(fleet.engine("operator"))
    desk.remove_tenant(fleet.tenant, "me")
    assert desk.empty_tenant(fleet.tenant, "me") is True
    assert [fleet.sql(f"SELECT 1 FROM {table}") for table in ("collection", "content")] == [[], []]  # noqa: S608
    assert fleet.observations.store([made[2]]) == [Stored.EXPIRED]
    assert desk.empty_tenant(fleet.tenant, "me") is False
    assert len(fleet.sql("SELECT 1 FROM audit WHERE action = 'tenant_shredded'")) == 1
    check(fleet)
