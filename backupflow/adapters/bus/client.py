"""nats-py's client, made to survive what others may publish.

Its read loop ends, in silence, at a subject, a reply or a status line that is not UTF-8: the connection stays open and
is deaf until its pings time out, and the message comes again, for ever (nats-py 2.16, `Client._read_loop`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client

from backupflow.core.tls import Refusal

if TYPE_CHECKING:
    from nats.aio.msg import Msg


class SturdyClient(Client):
    """What cannot be decoded is delivered in words that can; nobody trusts them anyway."""

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        msg: Msg = super()._build_message(sid, _decodable(subject), _decodable(reply), data, headers)
        return msg

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002
        """Before the login is sent: left alone, it goes in clear to a server that offers no TLS, tls:// or not."""
        secure = self._current_server is not None and self._current_server.uri.scheme == "tls"
        if initial_connection and secure and not info.get("tls_required"):
            raise nats.errors.Error(Refusal.IN_CLEAR.value)
        await super()._process_info(info, initial_connection)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):  # of a message without such headers nothing is missing to us
            return None


def _decodable(raw: bytes) -> bytes:
    return bytes(raw).decode("utf-8", "backslashreplace").encode()
