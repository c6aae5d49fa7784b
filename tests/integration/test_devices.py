"""Acts on devices against a real database and vault: each in one transaction with its audit row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from backupflow.core.enrolment import Edit
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, HostKey, Login, SealedSecret, TenantId
from backupflow.errors import Conflict, NotFound
from backupflow.flows import enroll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from tests.conftest import Install

ACTOR = "cli:tester"
LOGIN = Login("backup", password="s3cret")


def rows(install: Install, statement: str, **values: object) -> Sequence[Row[Any]]:
    """What the database holds, as the reader."""
    with install.wiring.engine("reader").begin() as tx:
        return tx.execute(text(statement), values).all()


def write(install: Install, role: str, statement: str, **values: object) -> None:
    """What another process would have written."""
    with install.wiring.engine(role).begin() as tx:
        tx.execute(text(statement), values)


def tenant(install: Install) -> TenantId:
    """The tenant of the install."""
    return install.wiring.devices("reader").tenant("default")


def add(install: Install, name: str = "core-1", host: str = "192.0.2.1") -> enroll.Done:
    """A device with a password."""
    new = NewDevice(tenant(install), DeviceId(uuid4()), name, host, 22, "routeros", {})
    return enroll.add(install.wiring.enroll_ports(ACTOR), new, LOGIN)


def offer(install: Install, device_id: DeviceId, blob: bytes, status: str = "offered") -> HostKey:
    """A host key as the collector records it."""
    key = HostKey("ssh-ed25519", blob)
    statement = """INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint)
        SELECT tenant_id, id, :status, :type, :blob, :fingerprint FROM device WHERE id = :id"""
    values = {"status": status, "type": key.key_type, "blob": blob, "fingerprint": key.fingerprint, "id": device_id}
    write(install, "collector", statement, **values)
    return key


def block(install: Install, device_id: DeviceId, code: str) -> None:
    """A device as the collector leaves it that blocks it."""
    statement = "UPDATE device SET blocked_code = :code, blocked_at = now(), failures = 3 WHERE id = :id"
    write(install, "collector", statement, code=code, id=device_id)
    install.wiring.alarms("scheduler").alarm(code, f"device {device_id}", "blocked")


def test_a_device_is_added_with_its_login_and_its_audit_row(install: Install) -> None:
    """What was enrolled can be opened by the collector alone, is due within the spread, and is audited once."""
    done = add(install)
    login = rows(install, "SELECT username, method, device_id, name FROM credential_profile")
    assert [tuple(row) for row in login] == [("backup", "password", done.device.device_id, None)]
    with install.wiring.engine("collector").begin() as tx:
        sealed = SealedSecret(tx.execute(text("SELECT sealed FROM credential_profile")).scalar_one())
    opened = install.wiring.vault("collector").open_login(done.device.tenant_id, done.device.device_id, sealed)
    assert b"s3cret" in opened
    assert b"s3cret" not in sealed.text.encode()
    due = done.device.next_due_at
    assert due == done.device.anchor_at
    assert due is not None
    assert timedelta(seconds=30) <= due - done.device.now <= timedelta(seconds=300)
    audit = rows(install, "SELECT actor, action, device_id, detail FROM audit ORDER BY id")
    assert [tuple(row)[:3] for row in audit] == [(ACTOR, "device_added", done.device.device_id)]
    assert "s3cret" not in str(audit)


@pytest.mark.parametrize(("name", "host"), [("core-1", "192.0.2.9"), ("core-9", "192.0.2.1")])
def test_a_name_or_an_address_is_given_once(install: Install, name: str, host: str) -> None:
    """Two devices of one name or one address would share a history or a lock-out: nothing of the second is written."""
    add(install)
    with pytest.raises(Conflict):
        add(install, name, host)
    assert len(rows(install, "SELECT 1 FROM device")) == 1
    assert len(rows(install, "SELECT 1 FROM credential_profile")) == 1
    assert len(rows(install, "SELECT 1 FROM audit")) == 1


def test_new_credentials_end_a_refused_login(install: Install) -> None:
    """The block and its alarm go, the device is due at once, and a session with the old login finds it gone."""
    device_id = add(install).device.device_id
    block(install, device_id, "authentication_failed")
    before = rows(install, "SELECT id FROM credential_profile")
    edit = Edit(login=Login("backup2", password="other"))
    done = enroll.edit(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1", edit)
    assert (done.device.blocked_code, done.device.failures, done.device.username) == (None, 0, "backup2")
    assert done.device.next_due_at is not None
    assert done.device.next_due_at <= done.device.now
    assert rows(install, "SELECT id FROM credential_profile") != before
    assert rows(install, "SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []


def test_another_user_name_keeps_the_password(install: Install) -> None:
    """A user name alone changes nothing of what is sealed."""
    device = add(install).device
    enroll.edit(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1", Edit(username="other"))
    with install.wiring.engine("collector").begin() as tx:
        row = tx.execute(text("SELECT username, sealed FROM credential_profile")).one()
    opened = install.wiring.vault("collector").open_login(device.tenant_id, device.device_id, SealedSecret(row.sealed))
    assert (row.username, b"s3cret" in opened) == ("other", True)


def test_another_address_keeps_the_pin_unless_the_router_is_new(install: Install) -> None:
    """A moved router is still the same router; only `--new-router` forgets its key."""
    device_id = add(install).device.device_id
    offer(install, device_id, b"old", "pinned")
    ports = install.wiring.enroll_ports(ACTOR)
    moved = enroll.edit(ports, tenant(install), "core-1", Edit(host="192.0.2.7")).device
    assert moved.host == "192.0.2.7"
    assert moved.pinned
    assert moved.pinned.key.blob == b"old"
    assert enroll.edit(ports, tenant(install), "core-1", Edit(new_router=True)).device.pinned is None


def test_settings_are_merged_and_kept(install: Install) -> None:
    """A setting that is not named stays."""
    add(install)
    ports = install.wiring.enroll_ports(ACTOR)
    enroll.edit(ports, tenant(install), "core-1", Edit(settings={"legacy_ssh": True}))
    done = enroll.edit(ports, tenant(install), "core-1", Edit(settings={"interval_seconds": 60}))
    assert done.device.settings == {"legacy_ssh": True, "interval_seconds": 60}
    assert done.device.interval == timedelta(minutes=1)


def test_an_edit_that_changes_nothing_writes_nothing(install: Install) -> None:
    """What is so already needs no audit row."""
    add(install)
    edit = Edit(host="192.0.2.1", port=22)
    assert not enroll.edit(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1", edit).changed
    assert len(rows(install, "SELECT 1 FROM audit")) == 1


def test_pause_and_resume(install: Install) -> None:
    """A paused device is never due; resumed with a run missed it is due at once."""
    add(install)
    ports = install.wiring.enroll_ports(ACTOR)
    paused = enroll.pause(ports, tenant(install), "core-1").device
    assert (paused.status, paused.next_due_at) == ("paused", None)
    assert not enroll.pause(ports, tenant(install), "core-1").changed
    resumed = enroll.resume(ports, tenant(install), "core-1").device
    assert resumed.status == "active"
    assert resumed.next_due_at is not None
    assert resumed.next_due_at <= resumed.now


def test_a_removed_device_leaves_its_name_and_no_login(install: Install) -> None:
    """The name and address are free again, the sealed login is gone, the rows of its history stay."""
    first = add(install).device
    enroll.remove(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1")
    assert rows(install, "SELECT 1 FROM credential_profile") == []
    with pytest.raises(NotFound):
        enroll.pause(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1")
    second = add(install).device
    assert second.device_id != first.device_id
    assert len(rows(install, "SELECT 1 FROM device")) == 2


def test_unblock_never_touches_the_pin(install: Install) -> None:
    """A device blocked over its host key is tried again, and its pin still stands."""
    device_id = add(install).device.device_id
    offer(install, device_id, b"old", "pinned")
    offer(install, device_id, b"new")
    block(install, device_id, "host_key_mismatch")
    done = enroll.unblock(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1")
    assert done.device.blocked_code is None
    assert done.device.pinned
    assert done.device.pinned.key.blob == b"old"
    assert [key.key.blob for key in done.device.offered] == [b"new"]
    assert rows(install, "SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []


def test_an_offered_key_is_accepted_by_its_fingerprint(install: Install) -> None:
    """The old pin is retired, the offered key is pinned with its own first sight, the block ends, one audit row."""
    device_id = add(install).device.device_id
    offer(install, device_id, b"old", "pinned")
    new = offer(install, device_id, b"new")
    block(install, device_id, "host_key_mismatch")
    ports = install.wiring.enroll_ports(ACTOR)
    seen = install.wiring.devices("reader").find(tenant(install), "core-1").offered[0].first_seen_at
    done = enroll.accept_key(ports, tenant(install), "core-1", new.fingerprint)
    assert done.device.pinned
    assert done.device.pinned.key == new
    assert done.device.pinned.first_seen_at == seen
    assert [key.status for key in done.device.keys if key.key.blob == b"old"] == ["retired"]
    assert (done.device.blocked_code, done.device.failures) == (None, 0)
    assert rows(install, "SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []
    acts = rows(install, "SELECT detail FROM audit WHERE action = 'host_key_accepted'")
    assert [act.detail["accepted"] for act in acts] == [new.fingerprint]


def test_a_replaced_router_is_known_by_nothing_of_the_old_one(install: Install) -> None:
    """What was learnt of it goes in one act, with the block, the alarms and the keys; the audit names it."""
    device_id = add(install).device.device_id
    old = offer(install, device_id, b"old", "pinned")
    write(install, "operator", "UPDATE device SET last_seq = 7, end_mark = 'required', modern_ssh_at = now()")
    block(install, device_id, "identity_changed")
    for code in ("export_suspect", "secrets_hidden"):
        install.wiring.alarms("scheduler").alarm(code, f"device {device_id}", "x")
    done = enroll.replaced(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1")
    assert (done.device.pinned, done.device.blocked_code, done.device.modern_ssh_at) == (None, None, None)
    (row,) = rows(install, "SELECT router_since_seq, end_mark FROM device")
    assert tuple(row) == (7, "untried")
    assert rows(install, "SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []
    (act,) = rows(install, "SELECT detail FROM audit WHERE action = 'device_replaced'")
    assert act.detail == {"retired": old.fingerprint, "was_blocked": "identity_changed", "after_seq": 7}


def test_sha1_is_allowed_anew_by_an_audited_act(install: Install) -> None:
    """The setting stood already: what changes is that the router spoke modern algorithms once."""
    add(install)
    ports = install.wiring.enroll_ports(ACTOR)
    edit = Edit(settings={"legacy_ssh": True})
    enroll.edit(ports, tenant(install), "core-1", edit)
    write(install, "operator", "UPDATE device SET modern_ssh_at = now()")
    assert enroll.edit(ports, tenant(install), "core-1", edit).changed
    assert rows(install, "SELECT 1 FROM device WHERE modern_ssh_at IS NOT NULL") == []
    assert not enroll.edit(ports, tenant(install), "core-1", edit).changed
    acts = rows(install, "SELECT detail FROM audit WHERE action = 'device_edited' ORDER BY id")
    assert [act.detail["changed"] for act in acts] == [["settings"], ["modern_ssh_at"]]


def test_a_key_that_is_not_on_offer_cannot_be_accepted(install: Install) -> None:
    """Whoever compared one fingerprint must not pin another key that was offered meanwhile."""
    device_id = add(install).device.device_id
    old = offer(install, device_id, b"old", "pinned")
    offer(install, device_id, b"new")
    elsewhere = HostKey("ssh-ed25519", b"third").fingerprint
    with pytest.raises(Conflict):
        enroll.accept_key(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1", elsewhere)
    record = install.wiring.devices("reader").find(tenant(install), "core-1")
    assert record.pinned
    assert record.pinned.key == old


def test_nothing_changes_without_its_audit_row(install: Install) -> None:
    """If the act cannot be written down it does not happen (I12)."""
    add(install)
    write(install, "migrator", "REVOKE INSERT ON audit FROM backupflow_enroller")
    with pytest.raises(Exception, match="permission denied"):
        enroll.pause(install.wiring.enroll_ports(ACTOR), tenant(install), "core-1")
    assert [row.status for row in rows(install, "SELECT status FROM device")] == ["active"]
