"""For processes whose PYTHONPATH names this folder: SIGUSR2 makes the main thread stand still, all others go on.

In a worker that is the thread which takes messages, in beat the one that ticks. The heart beats on.
"""

from __future__ import annotations

import signal
import threading


def _stand_still(*_: object) -> None:
    threading.Event().wait()


signal.signal(signal.SIGUSR2, _stand_still)
