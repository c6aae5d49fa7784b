"""Redis or Valkey as Celery's broker: who may do what on it, and whether it answers.

Keys and commands are those of kombu 5.7 (read in its redis transport); tests/contract holds them against a real worker,
beat's producer and remote control. Redis 7.2 or Valkey: an older one knows no `client|setinfo`, and refuses the file.

1. A queue is a list of its name, and one for each priority: name, two control bytes (`??`), then 3, 6 or 9.
2. The bindings of an exchange are `_kombu.binding.<exchange>` and `_kombu.binding_permanent.<exchange>`; queues without
   an exchange of their own are bound to the default one, `maintain`. Which tables expire is in a table of its own. The
   commands for them stand in a selector: otherwise who may push to a queue could delete it, or make it a set.
3. What workers have taken is in `unacked*`, the same for all of them. Whoever waits for anything, an answer to a ping
   too, puts back what a dead worker had taken: so every role pushes to every queue. Messages hold ids only.
   Not so Flower: it keeps to tables `flower.unacked*` of its own (`FLOWER_TRANSPORT`), so it puts back nothing of
   others, and neither it nor who has its password can send a task or take one away.
4. Pollers say in `device:<id>:status` whether a device is online: the scheduler may read the beginning of that and how
   long it lasts, in a selector, the user `poller` may write it. Nobody else may either, and that user nothing else.
5. Remote control is the channel `/<db>.celery.pidbox`, its answers are lists `<id>.reply.celery.pidbox`; events are the
   channels `/<db>.celeryev/<event>`. A pattern that somebody subscribes to must stand here literally. All hear the
   commands, in a selector: a channel of the main rules could be published to as well, and a command shuts workers down.
   Flower asks workers how they are by that channel; no rule here tells such a question from a command, for both are
   texts on the one channel. That the command is not obeyed is up to the workers (tasks/remote.py).
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import redis

from backupflow.core.tls import CLEAR, Refusal, refusal
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping

    from backupflow.core.tls import Trust

QUEUES = ("collect.now", "collect", "collect.slow", "ingest", "interpret", "maintain", "status")
_CONSUMES: dict[str, tuple[str, ...]] = {
    "scheduler": (),
    "collector": ("collect.now", "collect", "collect.slow", "status"),
    "ingester": ("ingest",),
    "interpreter": ("interpret",),
    "operator": ("maintain",),
    "flower": (),
}
ROLES = tuple(_CONSUMES)
FLOWER = "flower"
FLOWER_TRANSPORT = {f"{name}_key": f"flower.{name}" for name in ("unacked", "unacked_index", "unacked_mutex")}
POLLER = "poller"  # no part of ours: somebody's own program, which says whether devices are online
_SCHEDULER = "scheduler"
_INSPECTORS = frozenset({"operator"})

_CONNECTION = "ping hello select client|setinfo client|setname"
_PRODUCING = "multi exec lpush llen exists publish"
_HEARING = "psubscribe subscribe"
_LISTENING = "punsubscribe unsubscribe script|load script|exists time"
_RESTORING = "watch unwatch zrange zrem hget hdel rpush"
_CONSUMING = "brpop rpop hset zadd pexpire"
_BOOKKEEPING = "sadd srem smembers exists llen del evalsha zadd zrangebyscore zrem set get"
_PRESENCE = "device:*:status"
_READING = "getrange pttl"
_POLLING = "set setex psetex get ttl pttl expire pexpire del unlink multi exec"
_REMOTE = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
_TABLES = (*_REMOTE, *QUEUES)
_WATCHING = "multi exec llen exists publish"
_ANSWERS = "*.reply.celery.pidbox"


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What `doctor` shows; without a version it does not answer, and `detail` says why."""

    version: str = ""
    detail: str = ""


class TrustedConnection(redis.SSLConnection):
    """By TLS, on the word of the given authorities alone: redis-py adds them to the machine's."""

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.ca_certs)
        return context.wrap_socket(sock, server_hostname=self.host)


def options(trusted: Trust) -> dict[str, Any]:
    """What a client of redis-py takes beside its address; for kombu without the class of the connection."""
    if not trusted.encrypted:
        return {}
    return {"connection_class": TrustedConnection, "ssl_ca_certs": trusted.ca}


def why(exc: Exception, trusted: Trust) -> str:
    """Why it could not be asked, in words that quote nothing.

    To a server in clear the first words of TLS are a line that does not end: it waits for the rest.
    """
    if trusted.encrypted and isinstance(exc, redis.TimeoutError | TimeoutError):
        return Refusal.SILENT
    return refusal(str(exc)) or type(exc).__name__


def acl_text(passwords: Mapping[str, str], *, db: int = 0) -> str:
    """A line of a Redis ACL file for each role; the passwords stand in it as their SHA-256.

    SettingsInvalid if there is a role that is not in `ROLES`, nor `POLLER`.
    """
    unknown = set(passwords) - {*ROLES, POLLER}
    if unknown:
        raise SettingsInvalid(f"no such roles of the broker: {', '.join(sorted(unknown))}")
    return "".join(
        _poller(password) if role == POLLER else _line(role, password, db) for role, password in passwords.items()
    )


def acl_file(passwords: Mapping[str, str], *, db: int = 0) -> str:
    """A whole ACL file: these roles, and nobody else."""
    return f"user default off\n{acl_text(passwords, db=db)}"


def ask(
    url: str, role: str, password: str, timeout: timedelta = timedelta(seconds=2), *, trusted: Trust = CLEAR
) -> BrokerStatus:
    """Log in as a role and ask for the version; never raises. `url` is `redis://host:port/db`, without a login."""
    seconds = timeout.total_seconds()
    try:
        with redis.Redis.from_url(
            url,
            username=role,
            password=password,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            **options(trusted),
        ) as client:
            hello = client.execute_command("HELLO")
    except (redis.RedisError, OSError, ValueError) as exc:
        return BrokerStatus(detail=why(exc, trusted))
    about = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2], strict=False))
    return BrokerStatus(" ".join(_text(about.get(key, about.get(key.encode(), ""))) for key in ("server", "version")))


def _line(role: str, password: str, db: int) -> str:
    if role == FLOWER:
        return _flower(password, db)
    digest = hashlib.sha256(password.encode()).hexdigest()
    commands, events = f"&/{db}.celery.pidbox", f"&/{db}.celeryev/*"
    says = (commands, events) if role in _INSPECTORS else (events,)
    rights = [*_allow(_commands(role)), *_keys(role), *says]
    bookkeeping = ["-@all", *_allow(_BOOKKEEPING), *_tables()]
    hearing = ["-@all", *_allow(_HEARING), commands, events]
    presence = ["-@all", *_allow(_READING), f"%R~{_PRESENCE}"]
    selectors = [bookkeeping, hearing, *([presence] if role == _SCHEDULER else [])]
    return " ".join([f"user {role} on #{digest} -@all", *rights, *(f"({' '.join(one)})" for one in selectors)]) + "\n"


def _flower(password: str, db: int) -> str:
    """Asks workers and hears their answers and events, counts what waits; no queue of tasks is its to touch."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    own = tuple(f"~{key}" for key in FLOWER_TRANSPORT.values())
    counted = [key for queue in QUEUES for key in _lists("%R~", queue)]
    rights = [*_allow(f"{_CONNECTION} {_WATCHING} {_LISTENING} {_RESTORING} brpop rpop"), *counted, *own]
    rights += [*_lists("~", _ANSWERS), f"&/{db}.celery.pidbox"]
    queues = [key for name in (_ANSWERS, "celeryev.*") for key in _lists("~", name)]
    bookkeeping = ["-@all", *_allow(f"{_BOOKKEEPING} pexpire"), *_bindings(_REMOTE), *queues, *own]
    hearing = ["-@all", *_allow(_HEARING), f"&/{db}.celeryev/*"]
    selectors = " ".join(f"({' '.join(one)})" for one in (bookkeeping, hearing))
    return f"user {FLOWER} on #{digest} -@all {' '.join(rights)} {selectors}\n"


def _poller(password: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"user {POLLER} on #{digest} -@all {' '.join(_allow(f'{_CONNECTION} {_POLLING}'))} ~{_PRESENCE}\n"


def _allow(commands: str) -> list[str]:
    return [f"+{command}" for command in commands.split()]


def _commands(role: str) -> str:
    consumes = _CONSUMES[role] or role in _INSPECTORS
    return " ".join((_CONNECTION, _PRODUCING, _LISTENING, _RESTORING, _CONSUMING if consumes else ""))


def _keys(role: str) -> Iterable[str]:
    for queue in QUEUES:
        yield from _lists("~" if queue in _CONSUMES[role] else "%W~", queue)
    yield from _lists("~" if role in _INSPECTORS else "%W~", _ANSWERS)
    yield from ("~unacked", "~unacked_index", "~unacked_mutex")


def _tables() -> Iterable[str]:
    yield from _bindings(_TABLES)
    yield "~unacked_mutex"  # given back by a script that deletes it
    for queue in ("*@*.celery.pidbox", _ANSWERS, "celeryev.*"):
        yield from _lists("~", queue)


def _bindings(tables: Iterable[str]) -> Iterable[str]:
    for table in tables:
        yield f"~_kombu.binding.{table}"
        yield f"~_kombu.binding_permanent.{table}"
    yield "~_kombu.binding_deadlines"


def _lists(access: str, name: str) -> Iterable[str]:
    return (f"{access}{name}", f"{access}{name}??[369]")


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
