"""Simulated RouterOS routers that answer over real SSH, for the demo, the tests and the benchmarks.

Many routers live in one process and one event loop. `Fleet` is the way in; what the routers
really did is in its history.
"""

from __future__ import annotations

from backupflow.simulator.behaviour import Behaviour, Mute
from backupflow.simulator.fleet import Fleet
from backupflow.simulator.handle import SimulatedRouter
from backupflow.simulator.history import Event
from backupflow.simulator.jump_handle import SimulatedJumpHost
from backupflow.simulator.jump_spec import JumpBehaviour, JumpSpec
from backupflow.simulator.spec import HostKeyType, Login, RouterSpec

__all__ = [
    "Behaviour",
    "Event",
    "Fleet",
    "HostKeyType",
    "JumpBehaviour",
    "JumpSpec",
    "Login",
    "Mute",
    "RouterSpec",
    "SimulatedJumpHost",
    "SimulatedRouter",
]
