"""Logs: one event a line, named in the past tense, with fields; no secret in any of them.

What an exception of a library says is not logged: it may quote what a router sent or a row holds. Our own errors are
written to be read, and carry no secrets.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

import structlog

from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

# Events; each is also what a metric counts.
COLLECTION_ENDED: Final = "collection_ended"
CLAIMS_EMITTED: Final = "claims_emitted"
EMIT_FAILED: Final = "emit_failed"
EMITTING_RESUMED: Final = "emitting_resumed"
MESSAGES_DRAINED: Final = "messages_drained"
CHANGES_INTERPRETED: Final = "changes_interpreted"
STREAM_REMADE: Final = "stream_remade"
TASK_FAILED: Final = "task_failed"
TICK_FAILED: Final = "tick_failed"
CLAIMING_PAUSED: Final = "claiming_paused"
CLAIMING_RESUMED: Final = "claiming_resumed"
HEARTBEAT_FAILED: Final = "heartbeat_failed"
BACKEND_AWAITED: Final = "backend_awaited"
JOB_FINISHED: Final = "job_finished"
ALARM_RAISED: Final = "alarm_raised"
EVENTS_TOLD: Final = "events_told"
DEVICES_KNOCKED_AT: Final = "devices_knocked_at"
PRESENCE_UNREAD: Final = "presence_unread"
PRESENCE_READ: Final = "presence_read"
FLOWER_LISTENS: Final = "flower_listens"
FLOWER_LOGIN_REFUSED: Final = "flower_login_refused"
FLOWER_COMMANDED: Final = "flower_commanded"
REMOTE_CONTROL_REFUSED: Final = "remote_control_refused"
ENDPOINT_FAILED: Final = "endpoint_failed"
GAUGES_FAILED: Final = "gauges_failed"
# Of one collection each, with its `collection_id`: from the claim to what is told of it.
COLLECTION_CLAIMED: Final = "collection_claimed"
COLLECTION_EMITTED_AGAIN: Final = "collection_emitted_again"
MESSAGE_STORED: Final = "message_stored"
MESSAGE_REFUSED: Final = "message_refused"
CHANGE_INTERPRETED: Final = "change_interpreted"
EVENT_TOLD: Final = "event_told"

_SECRET_WORDS = frozenset(
    {
        "password",
        "passphrase",
        "secret",
        "token",
        "key",
        "pepper",
        "raw",
        "stdout",
        "stderr",
        "config",
        "login",
        "sealed",
    }
)
_HIDDEN = "[hidden]"


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank the fields whose name says that they are secret, and all bytes; a number, a count of something, is none."""
    for name, value in event.items():
        if isinstance(value, int | float):
            continue
        if isinstance(value, bytes) or not _SECRET_WORDS.isdisjoint(name.lower().split("_")):
            event[name] = _HIDDEN
    return event


def tell_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its class and where it was raised; in words only if it is one of ours."""
    exc = event.pop("exc_info", None)
    exc = sys.exc_info()[1] if exc is True else exc[1] if isinstance(exc, tuple) else exc
    if isinstance(exc, BaseException):
        event["error"] = type(exc).__name__
        if isinstance(exc, BackupflowError):
            event["code"], event["says"] = exc.code, str(exc)
        frames = traceback.extract_tb(exc.__traceback__)
        event["at"] = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-6:]]
    return event


def printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Control characters made visible: text of routers may end up in a terminal."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return event


def _short(path: str) -> str:
    return path.rpartition("site-packages/")[2] if "site-packages/" in path else "/".join(path.split("/")[-3:])


def set_up_logs(log_format: str = "json", level: str = "INFO") -> None:
    """Send all logs of the process, ours and the libraries', through one chain to stderr."""
    ours: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        tell_exception,
        hide_secrets,
        printable,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if log_format == "console"
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[*ours, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    chain = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=chain, foreign_pre_chain=ours))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for loud in (
        "celery.worker.strategy",
        "celery.app.trace",
        "celery.beat",
        "kombu",
        "amqp",
        "paramiko",
        "nats",
        "alembic",
    ):
        logging.getLogger(loud).setLevel(logging.WARNING)


def logger() -> Any:
    """The process's logger."""
    return structlog.get_logger("backupflow")


def about(collection_id: int | None) -> None:
    """Every event of this task from now on is about this collection; None: of none any more."""
    if collection_id is None:
        structlog.contextvars.unbind_contextvars("collection_id")
    else:
        structlog.contextvars.bind_contextvars(collection_id=collection_id)


def bind(fields: Mapping[str, Any]) -> None:
    """Give every event of this task these fields."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**fields)
