"""JetStream through nats-py: publish, bounded fetch, gauge. Owns the one event-loop thread of its process."""

from __future__ import annotations

from backupflow.adapters.bus.connection import BusLogin
from backupflow.adapters.bus.jetstream import Bus
from backupflow.adapters.bus.stream import BATCH_BYTES, MAX_MESSAGE_BYTES, STREAM, BusStatus, StreamDelivery

__all__ = ["BATCH_BYTES", "MAX_MESSAGE_BYTES", "STREAM", "Bus", "BusLogin", "BusStatus", "StreamDelivery"]
