"""A stream as the driver reads it, and what a row would keep of it: for those who cut exports."""

from __future__ import annotations

from backupflow.core.driver import Asking, Incomplete, Reading, Reply
from backupflow.core.model import ContentHash, SecretsPolicy
from backupflow.core.suspicion import Observed
from backupflow.drivers.routeros.driver import RouterOS

ROS = RouterOS()


def read(stdout: bytes, mark: str | None = None) -> Reading | Incomplete:
    """What the driver makes of a stream that ended as if all were well."""
    asking = Asking(SecretsPolicy.COLLECT, None, mark)
    command = ROS.next_command(asking, ())
    assert command is not None
    return ROS.read(asking, [Reply(command, stdout, b"", 0)])


def seen(reading: Reading) -> Observed:
    """What a row would keep of it."""
    drawn = reading.outline
    return Observed(
        ContentHash(reading.normal), 1, drawn.shape, drawn.masked, drawn.sections, drawn.size, drawn.secrets,
        reading.secrets, reading.facts,
    )  # fmt: skip
