"""What a worker does that it is told by remote control: it says how it is, and obeys no command.

Questions and commands come on one channel of the broker, and its rules tell them no apart: whoever may ask a worker
how it is (Flower, `celery inspect`) could stop it too, revoke its tasks or let it take none. So the workers themselves
decide: what is not listed here is answered with a refusal, unless FLOWER_WRITE says that Flower may command.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celery.signals import worker_init
from celery.worker.control import Panel

from backupflow import telemetry
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

ANSWERED = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "heartbeat",
        "ping",
        "registered",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
    }
)
REFUSAL = "refused: this worker obeys no remote control (FLOWER_WRITE=1 lets it)"


def answer_only(commands: MutableMapping[str, Callable[..., Any]]) -> None:
    """Let every command of Celery's table be refused that is no question."""
    for name in commands:
        if name not in ANSWERED:
            commands[name] = partial(_refuse, name)


def _refuse(command: str, _state: object, **_: Any) -> dict[str, str]:
    telemetry.logger().warning(telemetry.REMOTE_CONTROL_REFUSED, command=command)
    return {"error": REFUSAL}


@worker_init.connect
def _decide(**_: Any) -> None:
    if not wiring().settings.watching.write:
        answer_only(Panel.data)
