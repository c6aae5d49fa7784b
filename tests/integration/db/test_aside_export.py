"""What was kept aside, opened by the flow with the real vault: byte for byte, audited, never what is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Secrets, Seq
from backupflow.errors import NotFound
from backupflow.flows import history
from tests.integration.scene import Scene, export_text

if TYPE_CHECKING:
    from backupflow.core.model import TenantId

GOOD, ODD, ODDER = export_text("good"), export_text("odd"), export_text("odder")


@pytest.fixture
def told(scene: Scene) -> Scene:
    """A device with one export that was believed, and two that were not."""
    device = scene.add()
    scene.observe(device, GOOD)
    scene.doubt(device, ODD)
    scene.doubt(device, ODDER)
    return scene


def tenant(scene: Scene) -> TenantId:
    """The tenant of the install."""
    return scene.install.wiring.devices("reader").tenant("default")


def opened(scene: Scene, seq: int | None = None) -> history.Exported | history.Damaged | history.GivenUp:
    """What the flow gives."""
    return history.aside(scene.install.wiring.history_ports("me"), tenant(scene), "core-1", Seq(seq) if seq else None)


def test_what_was_kept_aside_comes_back_byte_for_byte(told: Scene) -> None:
    """The newest, or one by its number; the current one stays the current one (I8, I16)."""
    newest, named = opened(told), opened(told, 2)
    assert isinstance(newest, history.Exported)
    assert isinstance(named, history.Exported)
    assert (newest.raw, newest.header.seq, named.raw, named.header.seq) == (ODDER, 3, ODD, 2)
    ports = told.install.wiring.history_ports("me")
    current = history.export(ports, tenant(told), "core-1", None)
    assert isinstance(current, history.Exported)
    assert current.raw == GOOD
    assert [one.seq for one in history.asides(ports.store, tenant(told), "core-1")] == [3, 2]
    acts = told.rows("SELECT action, detail FROM audit WHERE actor = 'me' ORDER BY id")
    assert [tuple(act) for act in acts] == [
        ("aside_exported", {"seq": 3}),
        ("aside_exported", {"seq": 2}),
        ("config_exported", {"seq": 1, "first_seq": 1}),
    ]


def test_what_was_believed_is_not_aside(told: Scene) -> None:
    """Nor is what never was."""
    for seq in (1, 9):
        with pytest.raises(NotFound):
            opened(told, seq)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE aside a SET sealed = b.sealed FROM aside b WHERE a.collection_id <> b.collection_id",
        "UPDATE aside SET sealed = o.sealed FROM content o",
        "UPDATE aside SET sealed = overlay(sealed PLACING 'AAAA' FROM 40 FOR 4)",
        "UPDATE collection SET content_hash = sha256(content_hash)",
        "UPDATE collection SET normalization_version = 99",
    ],
    ids=["swapped", "of the current one", "altered", "another hash", "another version"],
)
def test_what_is_damaged_is_not_given_out(told: Scene, damage: str) -> None:
    """Bytes in another's place, or altered, are refused loudly: nothing comes out, and an alarm stands (I2)."""
    told.write("migrator", damage)
    found = opened(told)
    assert isinstance(found, history.Damaged)
    assert found.why
    (alarm,) = told.rows("SELECT code, scope FROM alarm WHERE cleared_at IS NULL")
    assert alarm.code == "snapshot_damaged"
    assert alarm.scope.endswith("seq 3")


def test_what_is_kept_aside_of_another_device_does_not_open(told: Scene) -> None:
    """The sealing is bound to its device, whatever row it is put into (I11)."""
    other = told.add("core-2", "192.0.2.2")
    told.doubt(other, export_text("of another device"))
    swap = "UPDATE aside a SET sealed = b.sealed FROM aside b WHERE a.device_id <> b.device_id AND b.device_id = :other"
    told.write("migrator", swap, other=other)
    assert isinstance(opened(told), history.Damaged)


def test_nothing_is_opened_that_cannot_be_audited(told: Scene) -> None:
    """If the read cannot be written down, nothing comes out (I12)."""
    told.write("migrator", "REVOKE INSERT ON audit FROM backupflow_reader")
    with pytest.raises(Exception, match="permission denied"):
        opened(told)


def test_what_the_current_export_says_of_the_router_is_shown(scene: Scene) -> None:
    """In the list and for one device; nothing before there is one, and nothing of what is in doubt."""
    device = scene.add()
    wiring = scene.install.wiring

    def shown() -> list[object]:
        (listed,) = wiring.statuses.overview(tenant(scene)).devices
        found = wiring.devices("reader").find(tenant(scene), "core-1")
        assert listed.facts == found.facts
        return [found.facts.get(name) for name in ("version", "secrets")]

    assert shown() == [None, None]
    scene.observe(device, GOOD, secrets=Secrets.HIDDEN)
    assert shown() == ["7.14", "hidden"]
    scene.doubt(device, ODD, secrets=Secrets.SHOWN)
    assert shown() == ["7.14", "hidden"]
    assert wiring.devices("reader").find(tenant(scene), "core-1").last_seq == 2
