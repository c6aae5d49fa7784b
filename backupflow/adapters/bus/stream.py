"""The stream of snapshots and its consumer: how they are made, and what comes out of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from nats.js import api

from backupflow.core.message import SUBJECT_PREFIX

if TYPE_CHECKING:
    from nats.aio.msg import Msg

STREAM = "CONFIG_SNAPSHOTS"
CONSUMER = "ingest"
SUBJECTS = f"{SUBJECT_PREFIX}.>"
MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 8 * MIB
BATCH_MESSAGES = 100
BATCH_BYTES = 64 * MIB
ACK_WAIT = timedelta(seconds=60)
MAX_ACK_PENDING = 1000


@dataclass(frozen=True, slots=True)
class StreamDelivery:
    """A message as the stream delivered it, not yet trusted."""

    payload: bytes = field(repr=False)
    subject: str
    stream_seq: int
    deliveries: int  # 1: the first time
    reply: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BusStatus:
    """What `doctor` shows."""

    version: str
    messages: int
    used: int  # bytes
    room: int  # bytes that the stream still takes


def delivery_of(msg: Msg) -> StreamDelivery:
    """What a message is, and what its reply subject says about it."""
    about = msg.metadata
    return StreamDelivery(msg.data, msg.subject, about.sequence.stream, about.num_delivered, msg.reply)


def stream_config(max_bytes: int) -> api.StreamConfig:
    """Refuses new messages when it is full, and drops none that was not read."""
    return api.StreamConfig(
        name=STREAM,
        subjects=[SUBJECTS],
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.WORK_QUEUE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=max_bytes,
        max_msg_size=MAX_MESSAGE_BYTES,
        max_age=0,
    )


def consumer_config() -> api.ConsumerConfig:
    """Delivers again, for ever, what was not acknowledged in time."""
    return api.ConsumerConfig(
        durable_name=CONSUMER,
        filter_subject=SUBJECTS,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT.total_seconds(),
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )
