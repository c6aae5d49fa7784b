"""The insides of paramiko that are overridden here, with their types: its stubs leave them out.

Read in paramiko 4.0 and 5.1; one test fails if a later one has them no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import paramiko
from paramiko.auth_handler import AuthHandler

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko.message import Message

    class TransportInside(paramiko.Transport):
        """As paramiko has it."""

        _kex_info: dict[str, object]
        _channel_handler_table: dict[int, Callable[[paramiko.Channel, Message], None]]
        _preferred_kex: tuple[str, ...]
        _preferred_pubkeys: tuple[str, ...]
        _cipher_info: dict[str, dict[str, object]]
        host_key_type: str
        local_cipher: str
        remote_cipher: str
        local_mac: str
        remote_mac: str
        host_key: paramiko.PKey | None

        def _check_banner(self) -> None: ...
        def _parse_kex_init(self, m: Message) -> None: ...
        def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = ...) -> dict[str, list[str]]: ...  # noqa: FBT001 - as it is
        def _verify_key(self, host_key: bytes, sig: bytes) -> None: ...
        def _parse_disconnect(self, m: Message) -> None: ...

    class AuthHandlerInside(AuthHandler):
        """As paramiko has it."""

        def _request_auth(self) -> None: ...
        def _finalize_pubkey_algorithm(self, key_type: str) -> str: ...
        def _parse_service_accept(self, m: Message) -> None: ...
        def _parse_userauth_failure(self, m: Message) -> None: ...
        def _parse_userauth_info_request(self, m: Message) -> None: ...

else:
    TransportInside = paramiko.Transport
    AuthHandlerInside = AuthHandler
