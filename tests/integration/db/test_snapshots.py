"""What the reader is shown of a device, on a real PostgreSQL, as the role `reader`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from backupflow.core.model import Secrets, Seq, TenantId
from backupflow.errors import NotFound
from tests.integration.db.fleet import Fleet, doubted, facts, message, published, seen

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId
    from backupflow.core.suspicion import Observed

SHOWN = seen("with")
HIDDEN = seen("without", masked_hash=SHOWN.masked_hash, secrets=Secrets.HIDDEN)
OMITTED = seen("without", masked_hash=SHOWN.masked_hash, secrets=Secrets.OMITTED)
WORDS = {observed.content_hash: word for word in ("with", "without", "other") for observed in (seen(word),)}


def tell(fleet: Fleet, *history: Observed) -> DeviceId:
    """A device `core-1` of which this was observed, and stored."""
    device = fleet.device(name="core-1")
    for observed in history:
        running = fleet.running(device)
        word = WORDS[observed.content_hash]
        assert fleet.collections.publish(running, published(word, observed=observed))
        assert [one.acceptable for one in fleet.observations.store([message(running, word)])] == [True]
    return device


def told(fleet: Fleet) -> list[tuple[int, str, bool]]:
    """The runs, the oldest first: seq, what is shown of secrets, and whether nothing else is another."""
    runs = fleet.snapshots.runs(fleet.tenant, "core-1", 10)
    return [(run.seq, run.secrets, run.only_secrets) for run in reversed(runs)]


def test_secrets_that_went_and_came_are_no_change_of_the_configuration(fleet: Fleet) -> None:
    """The text differs, the rest of it does not, and what is shown does: that is said, both ways."""
    tell(fleet, SHOWN, SHOWN, HIDDEN, HIDDEN, SHOWN, OMITTED)
    assert told(fleet) == [(1, "shown", False), (3, "hidden", True), (5, "shown", True), (6, "omitted", True)]


def test_another_secret_or_another_rest_is_a_change(fleet: Fleet) -> None:
    """Whatever else may be said of the secrets."""
    another_secret = seen("other", masked_hash=SHOWN.masked_hash)
    tell(fleet, SHOWN, another_secret, seen("without", secrets=Secrets.HIDDEN), SHOWN)
    assert told(fleet) == [(1, "shown", False), (2, "shown", False), (3, "hidden", False), (4, "shown", False)]


def test_what_was_not_looked_at_says_nothing(fleet: Fleet) -> None:
    """Rows from before the second migration have neither digest nor word."""
    tell(fleet, SHOWN, HIDDEN, SHOWN)
    fleet.sql("UPDATE collection SET masked_hash = NULL, facts = '{}' WHERE seq = 2")
    assert told(fleet) == [(1, "shown", False), (2, "", False), (3, "shown", False)]
    fleet.sql("UPDATE collection SET masked_hash = NULL, facts = NULL")
    assert told(fleet) == [(1, "", False), (2, "", False), (3, "", False)]


def test_digests_of_two_normalizations_are_not_compared(fleet: Fleet) -> None:
    """Whether that is a change is decided elsewhere; if it is one, equal digests say nothing (I1)."""
    tell(fleet, SHOWN, HIDDEN)
    fleet.sql("UPDATE collection SET normalization_version = 7 WHERE seq = 2")
    assert told(fleet) == [(1, "shown", False), (2, "hidden", False)]


def test_a_run_across_the_limit_is_compared_with_the_one_before_it(fleet: Fleet) -> None:
    """The oldest that is shown is not the oldest there is."""
    tell(fleet, SHOWN, HIDDEN)
    (run,) = fleet.snapshots.runs(fleet.tenant, "core-1", 1)
    assert (run.seq, run.only_secrets) == (2, True)


def test_what_was_kept_aside_is_listed(fleet: Fleet) -> None:
    """The newest first, with why, and only of this device; nothing of it is among the runs."""
    device = tell(fleet, SHOWN)
    fleet.doubted("other", device, observed=seen("other", facts=facts(identity="x")), raw_bytes=7)
    fleet.doubted("other", device)
    fleet.doubted("other")
    found = fleet.snapshots.asides(fleet.tenant, "core-1")
    assert [(one.seq, one.state, one.code, one.detail) for one in found] == [
        (3, "suspect", "export_suspect", "too small"),
        (2, "suspect", "export_suspect", "too small"),
    ]
    assert (found[1].raw_bytes, found[1].facts["identity"]) == (7, "x")
    assert found[0].collected_at > found[1].collected_at
    assert told(fleet) == [(1, "shown", False)]


def test_what_was_kept_aside_is_opened_by_number_or_the_newest(fleet: Fleet) -> None:
    """Its own seq is what its sealed header must name; each read is one audit row."""
    device = tell(fleet, SHOWN)
    for word in ("with", "other"):
        fleet.doubted(word, device)
    newest = fleet.snapshots.read_aside(fleet.tenant, "core-1", None, "me")
    named = fleet.snapshots.read_aside(fleet.tenant, "core-1", Seq(2), "me")
    assert [(one.seq, one.first_seq, one.content_hash) for one in (newest, named)] == [
        (3, 3, seen("other").content_hash),
        (2, 2, seen("with").content_hash),
    ]
    kept = doubted("other").aside
    assert kept
    assert (newest.sealed, newest.device_id, newest.normalization_version) == (kept.sealed.text, device, 1)
    acts = fleet.sql("SELECT actor, action, device_id, tenant_id, detail FROM audit ORDER BY id")
    assert [tuple(act) for act in acts] == [
        ("me", "aside_exported", device, fleet.tenant, {"seq": 3}),
        ("me", "aside_exported", device, fleet.tenant, {"seq": 2}),
    ]


def test_what_is_not_there_is_not_found_and_not_audited(fleet: Fleet) -> None:
    """A stored one was not kept aside, another device's is another's, another tenant's is nobody's (I11)."""
    tell(fleet, SHOWN)
    fleet.doubted("other")
    for tenant, name, seq in (
        (fleet.tenant, "core-1", None),
        (fleet.tenant, "core-1", Seq(1)),
        (fleet.tenant, "core-9", None),
        (TenantId(uuid4()), "core-1", None),
    ):
        with pytest.raises(NotFound):
            fleet.snapshots.read_aside(tenant, name, seq, "me")
    with pytest.raises(NotFound):
        fleet.snapshots.asides(TenantId(uuid4()), "core-1")
    assert fleet.sql("SELECT * FROM audit") == []
