"""Interprets what a scene has stored, as its worker does, and opens what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.observations import Observations
from backupflow.core.change_codec import decode
from backupflow.core.diff import decode as decode_diff
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.message import SnapshotMessage
from backupflow.core.model import DeviceId, SealedConfig, Seq, TenantId
from backupflow.flows.interpret import Interpreted, InterpretPorts, interpret

if TYPE_CHECKING:
    from sqlalchemy import Row

    from backupflow.core.changes import Change
    from backupflow.core.diff import Diff
    from backupflow.core.model import RawConfig
    from backupflow.wiring import Wiring
    from tests.integration.scene import Scene

LARGEST = 64 * 1024 * 1024
# Across the statements of one look nothing else is asked: the newest interpretation that counts, of each observation.
_OF_DEVICE = """
    SELECT i.*, c.is_change, c.interpreted_after_seq, c.interpret_tries FROM interpretation i
    JOIN collection c ON c.id = i.collection_id AND c.interpreted_after_seq = i.after_seq
    WHERE i.device_id = :device ORDER BY i.seq"""


@dataclass
class Desk:
    """The interpreter of a scene. `wiring`: another one's, whose servers are elsewhere."""

    scene: Scene
    wiring: Wiring
    defects: list[Exception] = field(default_factory=list)

    @classmethod
    def of(cls, scene: Scene) -> Desk:
        """With the servers of the scene."""
        return cls(scene, scene.install.wiring)

    @property
    def ports(self) -> InterpretPorts:
        """As the task has them."""
        return self.wiring.interpret_ports(self.defects.append)

    def run(self, **ports: Any) -> Interpreted:  # noqa: ANN401 - ports of any kind
        """All that is due; some ports may be others."""
        return interpret(replace(self.ports, **ports), lambda: False)

    def kinds(self, device_id: DeviceId) -> list[tuple[int, int, str]]:
        """(seq, the one that it is compared with, kind) of what counts."""
        return [(row.seq, row.after_seq, row.kind) for row in self.rows(device_id)]

    def rows(self, device_id: DeviceId) -> list[Row[Any]]:
        """The interpretations of a device that count."""
        return list(self.scene.rows(_OF_DEVICE, device=device_id))

    def changes(self, row: Row[Any]) -> tuple[Change, ...]:
        """What was sealed of one."""
        return decode(self._opened(row, What.CHANGES, row.changes_sealed))

    def diff(self, row: Row[Any]) -> Diff:
        """The other part."""
        return decode_diff(self._opened(row, What.DIFF, row.diff_sealed))

    def again(self, device_id: DeviceId) -> None:
        """Nothing of a device counts any more."""
        self.scene.write(
            "interpreter",
            "UPDATE collection SET interpreted_after_seq = NULL, interpret_tries = 0, interpret_until = NULL "
            "WHERE device_id = :device",
            device=device_id,
        )

    def end_leases(self) -> None:
        """As after two minutes."""
        self.scene.write("interpreter", "UPDATE collection SET interpret_until = now() - interval '1 second'")

    def _opened(self, row: Row[Any], what: What, sealed: str) -> bytes:
        owner = TenantId(row.tenant_id), DeviceId(row.device_id)
        plaintext = self.scene.install.wiring.vault("reader").open_config(*owner, SealedConfig(sealed))
        return enclosed(plaintext, Label(*owner, Seq(row.seq), Seq(row.after_seq), what), LARGEST)


def published(scene: Scene, device_id: DeviceId, raw: RawConfig) -> SnapshotMessage:
    """An observation that has passed the fence, and is not stored yet."""
    wiring = scene.install.wiring
    assignment = scene.claim(device_id)
    read = scene._read(assignment, raw)
    assert Collections(wiring.engine("collector"), wiring.policy).publish(assignment, read.published)
    return SnapshotMessage(
        assignment.tenant_id,
        device_id,
        assignment.collection_id,
        assignment.seq,
        NORMALIZATION_VERSION,
        read.published.observed.content_hash,
        read.sealed,
    )


def store(scene: Scene, message: SnapshotMessage) -> None:
    """What the ingester does with it."""
    wiring = scene.install.wiring
    outcomes = Observations(wiring.engine("ingester"), wiring.dice).store([message])
    assert [outcome.acceptable for outcome in outcomes] == [True]
