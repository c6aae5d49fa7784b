"""The client's side of SSH's authentication protocol (RFC 4252), with what paramiko's does not note."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paramiko
from paramiko.message import Message

from backupflow.adapters.ssh.internals import AuthHandlerInside

if TYPE_CHECKING:
    from backupflow.adapters.ssh.transport import Transport


class LoginHandler(AuthHandlerInside):
    """Asks for the authentication service once a connection, as RFC 4253 has it; paramiko asks before each method.

    Some servers end the connection at the second time.
    """

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._agreed = transport.agreed
        self._accepted: bytes | None = None
        self.refused = ""  # the server's verdict, which it may give and hang up before anybody has looked
        self.sent = False  # a secret, or a signature with one: what happens next may be the answer to it

    def _request_auth(self) -> None:
        if self._accepted is None:
            super()._request_auth()
        else:
            self.send_request(self._accepted)

    def _finalize_pubkey_algorithm(self, key_type: str) -> str:
        try:
            algorithm = super()._finalize_pubkey_algorithm(key_type)
        except paramiko.AuthenticationException:
            self.refused = "the device takes no signature of this key that is allowed"
            raise
        self._agreed.add(algorithm)
        return algorithm

    def _parse_service_accept(self, m: Message) -> None:
        if self._accepted is not None:
            return  # a server that says so again would be sent the login again
        accepted = m.get_remainder()
        self.send_request(accepted)
        self._accepted = accepted  # only what could be read: the caller's thread reads it again

    def send_request(self, accepted: bytes) -> None:
        """Ask to be let in, as `accepted` says that one may."""
        super()._parse_service_accept(Message(accepted))
        if self.auth_method in {"password", "publickey"}:
            self.sent = True  # only now: what could not be sent may be sent again

    def _parse_userauth_info_request(self, m: Message) -> None:
        if self.auth_method == "password":  # its number is then PASSWD_CHANGEREQ (RFC 4252, section 8)
            self.refused = "the password has expired"
        super()._parse_userauth_info_request(m)  # which ends the connection, unless it was asked for

    def _parse_userauth_failure(self, m: Message) -> None:
        if self.auth_method != "none":
            self.refused = self.auth_method
        super()._parse_userauth_failure(m)
