"""Who may do what on NATS: the users and their permissions, as configuration text that the server includes.

Subjects are those of the JetStream API (docs.nats.io/reference/reference-protocols/nats_api_reference). Every role may
receive on its own inbox alone, so that no one sees the answers, or the messages, of another. tests/contract holds it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_STREAM = "CONFIG_SNAPSHOTS"  # bus.STREAM and bus.CONSUMER: adapters know nothing of one another
_CONSUMER = "ingest"
_STREAM_INFO = f"$JS.API.STREAM.INFO.{_STREAM}"
_CONSUMER_INFO = f"$JS.API.CONSUMER.INFO.{_STREAM}.{_CONSUMER}"
_PUBLISH: dict[str, tuple[str, ...]] = {
    "collector": ("config.snapshot.create.*",),
    "scheduler": (_STREAM_INFO,),
    "ingester": (
        _STREAM_INFO,
        f"$JS.API.STREAM.CREATE.{_STREAM}",
        _CONSUMER_INFO,
        f"$JS.API.CONSUMER.DURABLE.CREATE.{_STREAM}.{_CONSUMER}",
        f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.{_CONSUMER}",
        f"$JS.ACK.{_STREAM}.{_CONSUMER}.>",
        f"$JS.ACK.*.*.{_STREAM}.{_CONSUMER}.>",  # the form with domain and account (ADR-15)
    ),
    "operator": (_STREAM_INFO, _CONSUMER_INFO),
}
ROLES = tuple(_PUBLISH)
# What NATS reads as bcrypt, and what cannot stand between quotation marks, is no password here.
_PASSWORD = re.compile(r"(?!\$2)[!#-\[\]-~]{8,}")
_ROLE = re.compile(r"[a-z]+")


def users_config(passwords: Mapping[str, str]) -> str:
    """The `authorization` block for these roles; one that is not in `ROLES` may log in and do nothing.

    The text holds the passwords: it belongs into a file that only the server reads. SettingsInvalid if a password has
    less than 8 characters, a space, a quotation mark, a backslash, or looks like a bcrypt hash.
    """
    users = "".join(_user(role, password) for role, password in passwords.items())
    return f"authorization {{\n  users = [\n{users}  ]\n}}\n"


def _user(role: str, password: str) -> str:
    if not _ROLE.fullmatch(role) or not _PASSWORD.fullmatch(password):
        raise SettingsInvalid(f"the password of the NATS user {role!r} has characters that are not allowed, or too few")
    publish = _PUBLISH.get(role, ())
    subscribe = (f"_INBOX_{role}.>",) if publish else ()
    return (
        f'    {{ user: "{role}", password: "{password}", permissions: {{\n'
        f"      publish: {_allow(publish)}\n"
        f"      subscribe: {_allow(subscribe)}\n"
        "    } }\n"
    )


def _allow(subjects: Iterable[str]) -> str:
    """An empty list would allow everything."""
    quoted = ", ".join(f'"{subject}"' for subject in subjects)
    return f"{{ allow: [{quoted}] }}" if quoted else '{ deny: [">"] }'
