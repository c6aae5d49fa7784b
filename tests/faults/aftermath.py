"""What must hold when a storm is over: every router's newest configuration is current, and no promise was broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backupflow.core.model import ContentHash, Pepper, RawConfig, SealedSecret, TenantId, content_hash
from backupflow.drivers import driver
from tests.acceptance.install import wait_for
from tests.checker.case import Terms
from tests.checker.check import Subject, check
from tests.faults.rounds import Watched, now_there, story

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from backupflow.simulator import Fleet
    from backupflow.wiring import Wiring

# Whoever died while it interpreted has left its lease, of two minutes.
INTERPRETED_SECONDS = 240.0
INTERPRETERS = "SELECT 1 FROM process WHERE queues ? 'interpret' AND heartbeat_at > now() - interval '30 seconds'"
OWED = """
    SELECT 1 FROM collection c WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM collection p WHERE p.device_id = c.device_id AND p.state = 'published' AND p.seq < c.seq)"""


class Judged(Watched, Protocol):
    """An install, or a stack, with a wiring of its own."""

    @property
    def wiring(self) -> Wiring:
        """Of the test."""
        ...

    @property
    def tenant_id(self) -> TenantId:
        """The tenant that every install has."""
        ...


def not_current(judged: Judged, fleet: Fleet) -> list[str]:
    """The routers whose newest revision is not the current configuration of their device."""
    pepper = pepper_of(judged)
    rows = judged.rows(
        "SELECT d.name, c.content_hash FROM device d JOIN collection c ON c.id = d.current_collection_id"
    )
    current = {row.name: bytes(row.content_hash) for row in rows}
    return [name for name in fleet if current.get(name) != hash_of(pepper, fleet[name].text())]


def await_current(judged: Judged, fleet: Fleet, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Wait until every router's newest revision is current; a failure tells each device's story of this wait."""
    since = now_there(judged, seconds)
    late: list[str] = []

    def none() -> bool:
        meanwhile()
        late[:] = not_current(judged, fleet)
        return not late

    try:
        wait_for(none, "every router's newest revision to be current", seconds)
    except AssertionError as waited:
        raise AssertionError("\n".join([f"{waited}: {late}", *story(judged, since), judged.output()])) from None


def broken(
    judged: Judged,
    fleet: Fleet,
    *,
    revisions: Mapping[str, Sequence[int]] | None = None,
    stopped: Sequence[tuple[datetime, datetime]] = (),
    grace: timedelta | None = None,
    alarms: Collection[str] | None = None,
) -> list[str]:
    """What the checker says, with every router at its newest revision; see its Terms."""
    collecting = judged.wiring.settings.collecting
    interpreted = bool(judged.rows(INTERPRETERS))
    if interpreted:
        wait_for(lambda: not judged.rows(OWED), "every change to be interpreted", INTERPRETED_SECONDS)
    terms = Terms(
        settled=list(fleet),
        revisions=revisions or {},
        stopped=stopped,
        policy=judged.wiring.policy,
        emit_again_after=collecting.emit_again_after,
        lost_after=collecting.lost_after,
        grace=grace or Terms().grace,
        alarms=alarms,
        interpreted=interpreted,
    )
    return check(Subject(judged.wiring.engine("reader"), judged.wiring.vault("reader"), fleet.history, terms))


def hash_of(pepper: Pepper, text: bytes) -> ContentHash:
    """The keyed hash under which a text is stored."""
    return content_hash(pepper, driver("routeros").normalize(RawConfig(text)))


def pepper_of(judged: Judged) -> Pepper:
    """The tenant's pepper, opened by the reader."""
    sealed = SealedSecret(judged.rows("SELECT pepper FROM tenant")[0].pepper)
    return judged.wiring.vault("reader").open_pepper(judged.tenant_id, sealed)
