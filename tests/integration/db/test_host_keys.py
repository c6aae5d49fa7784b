"""How host keys come to be trusted, on a real PostgreSQL: by whom, how, and never against what is expected."""

from __future__ import annotations

import pytest

from backupflow.core.key_acts import key_accepted, key_approved, key_known, key_reset
from backupflow.core.model import HostKey, TrustedHow
from backupflow.errors import HostKeyMismatch, HostKeyUnapproved, LoginSuspended
from tests.integration.db.fleet import KEY, Fleet

OTHER = HostKey("ssh-rsa", b"other")
KEYS = "SELECT status, fingerprint, trusted_how, trusted_by, trusted_at IS NOT NULL AS at FROM host_key ORDER BY id"
OFFER = """
    INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint)
    SELECT tenant_id, id, 'offered', :k, :b, :f FROM device"""


def keys(fleet: Fleet) -> list[tuple[object, ...]]:
    """What is on record, the oldest first."""
    return [tuple(row) for row in fleet.sql(KEYS)]


def offer(fleet: Fleet, key: HostKey) -> None:
    """As a scan leaves it."""
    fleet.sql(OFFER, k=key.key_type, b=key.blob, f=key.fingerprint)


def test_a_first_key_is_trusted_by_nobody(fleet: Fleet) -> None:
    """Whoever answered first was believed; what a scan had left on offer is not any more."""
    running = fleet.running()
    offer(fleet, KEY)
    fleet.collections.pin(running, KEY)
    fleet.collections.pin(running, KEY)
    assert keys(fleet) == [
        ("retired", KEY.fingerprint, None, None, False),
        ("pinned", KEY.fingerprint, "first_use", None, True),
    ]


def test_a_key_that_was_foretold_is_trusted_by_whoever_did(fleet: Fleet) -> None:
    """Also if that was said while the session was on its way: how it is pinned is decided when it is written."""
    running = fleet.running()
    assert fleet.act(running.device_id, lambda record: key_known(record, [OTHER, KEY]))
    fleet.collections.pin(running, KEY, TrustedHow.FIRST_USE)
    assert keys(fleet) == [("pinned", KEY.fingerprint, "known_hosts", "me", True)]


def test_a_first_key_other_than_the_expected_is_not_pinned(fleet: Fleet) -> None:
    """Expected since its handshake began: no login is sent to it (I6)."""
    running = fleet.running()
    assert fleet.act(running.device_id, lambda record: key_approved(record, OTHER.fingerprint))
    with pytest.raises(HostKeyMismatch):
        fleet.collections.pin(running, KEY)
    assert keys(fleet) == []
    assert not fleet.collections.login_allowed(running, KEY)


def test_a_first_key_is_not_pinned_once_somebody_has_to_approve_it(fleet: Fleet) -> None:
    """Said by any scope while the handshake was under way; what is pinned or expected needs nobody (I6)."""
    profile = fleet.login(name="shared")
    first, pinned, foretold = (fleet.running(login=False, credential_profile_id=profile) for _ in range(3))
    fleet.collections.pin(pinned, KEY)
    fleet.sql("""UPDATE credential_profile SET settings = '{"trust": "manual"}'""")
    assert fleet.act(foretold.device_id, lambda record: key_known(record, [OTHER]))
    with pytest.raises(HostKeyUnapproved):
        fleet.collections.pin(first, KEY)
    assert not fleet.collections.login_allowed(first, KEY)
    fleet.collections.pin(pinned, KEY)
    fleet.collections.pin(foretold, OTHER)
    assert [row[1] for row in keys(fleet)] == [KEY.fingerprint, OTHER.fingerprint]


def test_settings_that_became_unusable_pin_nothing(fleet: Fleet) -> None:
    """Nobody can say whether a first key is trusted."""
    hop = fleet.jump_host(key=None)
    running = fleet.running(jump_host_id=hop)
    fleet.sql("""UPDATE tenant SET settings = '{"trust": "?"}'""")
    for pin in (fleet.collections.pin, fleet.collections.pin_jump_host):
        with pytest.raises(LoginSuspended):
            pin(running, KEY, TrustedHow.FIRST_USE)
    assert keys(fleet) == []


def test_an_act_says_who_did_it(fleet: Fleet) -> None:
    """Approved, then another accepted: each with its audit row, and the retired one keeps what was known of it."""
    device = fleet.device()
    offer(fleet, KEY)
    assert fleet.act(device, lambda record: key_approved(record, KEY.fingerprint))
    offer(fleet, OTHER)
    assert fleet.act(device, lambda record: key_accepted(record, OTHER.fingerprint))
    assert keys(fleet) == [
        ("retired", KEY.fingerprint, "approved", "me", True),
        ("pinned", OTHER.fingerprint, "accepted", "me", True),
    ]
    assert [row.action for row in fleet.sql("SELECT action FROM audit ORDER BY id")] == [
        "host_key_approved",
        "host_key_accepted",
    ]


def test_a_pin_is_known_better_by_a_file(fleet: Fleet) -> None:
    """Nothing else of it changes."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    assert fleet.act(running.device_id, lambda record: key_known(record, [KEY]))
    assert keys(fleet) == [("pinned", KEY.fingerprint, "known_hosts", "me", True)]


def test_a_reset_forgets_what_is_expected(fleet: Fleet) -> None:
    """The next first sight is one."""
    device = fleet.device()
    assert fleet.act(device, lambda record: key_approved(record, KEY.fingerprint))
    assert fleet.value("SELECT count(*) FROM expected_key") == 1
    assert fleet.act(device, key_reset)
    assert fleet.value("SELECT count(*) FROM expected_key") == 0
