"""What first keys of a shared password are worth is asked once."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from backupflow.core.model import TenantId, Trust
from backupflow.core.trust import SharedLogin
from backupflow.flows.hostkeys import settle_trust

if TYPE_CHECKING:
    from collections.abc import Sequence

TENANT = TenantId(UUID(int=1))


class Profiles:
    """Plays TrustStore."""

    def __init__(self, *logins: SharedLogin) -> None:
        self.logins = logins
        self.settled: list[tuple[str, Trust, int, str]] = []

    def shared(self, tenant_id: TenantId, names: Sequence[str]) -> Sequence[SharedLogin]:
        """TrustStore."""
        assert tenant_id == TENANT
        return [login for login in self.logins if login.name in names]

    def settle(self, tenant_id: TenantId, name: str, trust: Trust, devices: int, actor: str) -> Trust:
        """TrustStore."""
        assert tenant_id == TENANT
        self.settled.append((name, trust, devices, actor))
        return trust


def test_each_password_past_twenty_devices_is_asked_for_once() -> None:
    """What is no password, has its answer, is not there, or has few devices is not asked for."""
    store = Profiles(
        SharedLogin("edge", "password", 15, None),
        SharedLogin("few", "password", 1, None),
        SharedLogin("keyed", "key", 15, None),
        SharedLogin("said", "password", 15, Trust.TOFU),
    )
    asked: list[tuple[str, int]] = []

    def ask(name: str, devices: int) -> Trust:
        asked.append((name, devices))
        return Trust.MANUAL

    adding = dict.fromkeys(("edge", "few", "keyed", "said", "unknown"), 10)
    assert settle_trust(store, TENANT, adding, ask, actor="cli:me") == {"edge": Trust.MANUAL}
    assert asked == [("edge", 25)]
    assert store.settled == [("edge", Trust.MANUAL, 25, "cli:me")]


def test_the_answer_for_a_profile_that_is_to_be_made_is_given_back() -> None:
    """There is no row yet to write it on."""
    store = Profiles()
    adding = {"made": 21, "small": 20}
    said = settle_trust(
        store, TENANT, adding, lambda _name, _devices: Trust.TOFU, actor="cli:me", new={"made", "small"}
    )
    assert (said, store.settled) == ({"made": Trust.TOFU}, [])
