"""What an act on a host key changes, decided over values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.core.inventory import DeviceRecord, SeenKey
from backupflow.core.key_acts import comparable, key_accepted, key_approved, key_known, key_reset
from backupflow.core.model import DeviceId, ExpectedKey, HostKey, TenantId, TrustedHow
from backupflow.errors import Conflict, InputInvalid

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OLD, NEW, THIRD = (HostKey("ssh-ed25519", blob) for blob in (b"old", b"new", b"third"))
RSA = HostKey("ssh-rsa", b"of another type")
IMPORTED = ExpectedKey(THIRD.fingerprint, TrustedHow.IMPORT)


def seen(number: int, status: str, key: HostKey, how: TrustedHow | None = None) -> SeenKey:
    """A host key on record."""
    return SeenKey(number, status, key, NOW, NOW, None, how)


NEVER_SEEN = DeviceRecord(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "192.0.2.1", 22, "routeros", "active", {}, "backup",
    "password", True, None, None, None, 0, NOW - timedelta(days=1), NOW + timedelta(hours=1), timedelta(hours=6),
    None, NOW,
)  # fmt: skip
OFFERS = replace(NEVER_SEEN, blocked_code="host_key_unapproved", keys=(seen(1, "offered", NEW),))
CHANGED = replace(NEVER_SEEN, blocked_code="host_key_mismatch", failures=3, keys=(
    seen(2, "offered", NEW), seen(1, "pinned", OLD, TrustedHow.FIRST_USE), seen(0, "retired", HostKey("a", b"older")),
))  # fmt: skip
PINNED = replace(NEVER_SEEN, keys=(seen(1, "pinned", OLD, TrustedHow.FIRST_USE),))
EXPECTING = replace(NEVER_SEEN, expected=(IMPORTED,))
ANOTHER_CAME = replace(EXPECTING, blocked_code="host_key_mismatch", keys=(seen(1, "offered", NEW),))


def test_accepting_pins_the_chosen_key_and_retires_the_others() -> None:
    """Exactly one is pinned afterwards, and no older offer is left to be accepted by mistake."""
    update = key_accepted(CHANGED, NEW.fingerprint)
    assert (update.pins, update.retires, update.how) == (2, (1,), TrustedHow.ACCEPTED)
    assert update.columns["blocked_code"] is None
    assert (update.action, update.detail["accepted"]) == ("host_key_accepted", NEW.fingerprint)


def test_a_key_in_place_of_the_expected_one_is_accepted() -> None:
    """What was expected is expected no more, and the audit says what that was."""
    update = key_accepted(ANOTHER_CAME, NEW.fingerprint)
    assert (update.pins, update.expects, update.how) == (1, (), TrustedHow.ACCEPTED)
    assert update.detail["expected"] == [THIRD.fingerprint]


@pytest.mark.parametrize("key", [OLD, HostKey("a", b"older"), HostKey("ssh-ed25519", b"never")])
def test_only_an_offered_key_can_be_accepted(key: HostKey) -> None:
    """Neither the pinned one, nor one that was retired, nor one that was never seen."""
    with pytest.raises(Conflict, match="does not offer"):
        key_accepted(CHANGED, key.fingerprint)


def test_a_first_key_is_no_changed_one() -> None:
    """Whoever goes through changed keys after maintenance must not trust a new device by the way."""
    with pytest.raises(Conflict, match="takes `hostkey approve`"):
        key_accepted(OFFERS, NEW.fingerprint)


def test_accepting_does_not_end_another_block() -> None:
    """A refused login stays blocked though its key is accepted."""
    update = key_accepted(replace(CHANGED, blocked_code="authentication_failed"), NEW.fingerprint)
    assert "blocked_code" not in update.columns


def test_approving_pins_a_first_key() -> None:
    """It ends the block that waited for it."""
    update = key_approved(OFFERS, NEW.fingerprint)
    assert update
    assert (update.pins, update.how, update.action) == (1, TrustedHow.APPROVED, "host_key_approved")
    assert (update.columns["blocked_code"], update.columns["next_due_at"]) == (None, NOW)


@pytest.mark.parametrize("record", [CHANGED, PINNED], ids=["changed", "pinned"])
def test_a_changed_key_is_no_first_one(record: DeviceRecord) -> None:
    """Whoever approves a new site must not wave a changed key through."""
    with pytest.raises(Conflict, match="takes `hostkey accept`"):
        key_approved(record, NEW.fingerprint)


def test_a_key_other_than_the_expected_is_not_approved() -> None:
    """Somebody had said before which one it would be."""
    for record in (EXPECTING, ANOTHER_CAME):
        with pytest.raises(Conflict, match="is expected to have another"):
            key_approved(record, NEW.fingerprint)
    assert key_approved(EXPECTING, THIRD.fingerprint) is None


def test_a_first_key_that_is_not_on_offer_is_not_approved() -> None:
    """What was compared is not what the device shows."""
    with pytest.raises(Conflict, match="does not offer"):
        key_approved(OFFERS, THIRD.fingerprint)


def test_a_key_is_approved_before_the_first_contact() -> None:
    """Then it is the only one that may be pinned."""
    update = key_approved(NEVER_SEEN, NEW.fingerprint)
    assert update
    assert (update.action, update.pins) == ("host_key_expected", None)
    assert update.expects == (ExpectedKey(NEW.fingerprint, TrustedHow.APPROVED),)


def test_a_person_may_compare_a_key_that_was_trusted_on_first_use() -> None:
    """It is on record once; nothing else changes."""
    update = key_approved(PINNED, OLD.fingerprint)
    assert update
    assert (update.action, update.how, update.pins, update.columns) == ("host_key_vouched", "approved", None, {})
    compared = replace(PINNED, keys=(seen(1, "pinned", OLD, TrustedHow.APPROVED),))
    assert key_approved(compared, OLD.fingerprint) is None


def test_what_is_no_fingerprint_is_said_to_be_none() -> None:
    """A typing error is no other key."""
    for act in (key_accepted, key_approved):
        with pytest.raises(InputInvalid, match="not a fingerprint"):
            act(CHANGED, "SHA256:short")


def test_known_hosts_foretell_every_type_that_they_list() -> None:
    """Which one the router shows is its own matter; the block of a first key ends, so that it is looked at again."""
    update = key_known(OFFERS, [NEW, RSA])
    assert update
    assert update.expects == tuple(
        ExpectedKey(key.fingerprint, TrustedHow.KNOWN_HOSTS, key.key_type) for key in (NEW, RSA)
    )
    assert update.columns["blocked_code"] is None
    again = replace(NEVER_SEEN, expected=update.expects)
    assert key_known(again, [RSA, NEW]) is None


def test_known_hosts_add_to_what_is_expected_unless_they_contradict_it() -> None:
    """One fingerprint of an import is in the file with others: then these are the same router's."""
    update = key_known(EXPECTING, [THIRD, RSA])
    assert update
    assert update.expects
    assert [key.how for key in update.expects] == ["import", "known_hosts"]
    with pytest.raises(Conflict, match="expected is SHA256"):
        key_known(EXPECTING, [NEW])


def test_known_hosts_vouch_for_an_equal_pin() -> None:
    """Only where nobody had looked before: whoever compared it by hand stays on record."""
    update = key_known(PINNED, [RSA, OLD])
    assert update
    assert (update.how, update.expects) == (TrustedHow.KNOWN_HOSTS, None)
    accepted = replace(PINNED, keys=(seen(1, "pinned", OLD, TrustedHow.ACCEPTED),))
    assert key_known(accepted, [OLD]) is None


def test_known_hosts_contradict_a_pin_of_a_type_that_they_list() -> None:
    """A pin of another type is not spoken of: routers have several."""
    with pytest.raises(Conflict, match="pinned is ssh-ed25519 SHA256"):
        key_known(PINNED, [NEW, RSA])
    assert key_known(PINNED, [RSA]) is None
    assert (comparable(PINNED.pinned, [RSA]), comparable(PINNED.pinned, [NEW]), comparable(None, [RSA])) == (
        False,
        True,
        True,
    )


def test_a_reset_without_keys_is_nothing() -> None:
    """No audit row for what did not happen."""
    assert key_reset(NEVER_SEEN) is None


def test_a_reset_forgets_what_was_expected() -> None:
    """Otherwise the next first sight would be none."""
    update = key_reset(EXPECTING)
    assert update
    assert (update.expects, update.detail["no_longer_expected"]) == ((), [THIRD.fingerprint])
