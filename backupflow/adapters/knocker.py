"""Whether an address answers: a TCP connection, closed at once; many at the same time."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from backupflow.core.knocking import Knock
    from backupflow.core.model import DeviceId

AT_A_TIME: Final = 50
_AT_LEAST: Final = 0.001  # seconds: none at all would mean "do not wait", and fail differently


class TcpKnocker:
    """core.ports.Knocker. A name is looked up by the system's resolver, whose own time-outs hold."""

    def answering(self, knocks: Sequence[Knock]) -> Collection[DeviceId]:
        """The devices to which a connection was made in time."""
        if not knocks:
            return ()
        with ThreadPoolExecutor(min(AT_A_TIME, len(knocks)), "knock") as pool:
            answers = list(pool.map(_answers, knocks))
        return [knock.device_id for knock, answered in zip(knocks, answers, strict=True) if answered]


def _answers(knock: Knock) -> bool:
    ends = time.monotonic() + knock.timeout.total_seconds()
    with suppress(OSError, UnicodeError):
        for family, kind, protocol, _, address in socket.getaddrinfo(knock.host, knock.port, type=socket.SOCK_STREAM):
            with suppress(OSError), socket.socket(family, kind, protocol) as line:
                line.settimeout(max(ends - time.monotonic(), _AT_LEAST))
                line.connect(address)
                return True
    return False
