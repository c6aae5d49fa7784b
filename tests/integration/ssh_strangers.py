"""SSH servers that no router should be: each step of a connection can be played as a test wants it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

import paramiko
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_CLOSE,
    cMSG_CHANNEL_EOF,
    cMSG_CHANNEL_REQUEST,
    cMSG_CHANNEL_SUCCESS,
)
from paramiko.message import Message
from paramiko.packet import Packetizer
from paramiko.server import InteractiveQuery

from backupflow.adapters.ssh import SshCollector
from backupflow.adapters.ssh.login import private_key
from backupflow.core.model import HostKey, Login, Target, Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from backupflow.core.driver import Reply

    class _Transport(paramiko.Transport):
        """As paramiko has it."""

        def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = ...) -> dict[str, list[str]]: ...
        def _parse_kex_init(self, m: Message) -> None: ...
        def _parse_newkeys(self, m: Message) -> None: ...
else:
    _Transport = paramiko.Transport

SECRET = "the password of a stranger's router"
ECDSA = paramiko.ECDSAKey.generate()
RSA = paramiko.RSAKey.generate(2048)


def new_ed25519() -> paramiko.PKey:
    """Another key of this type: paramiko cannot make one."""
    made = ed25519.Ed25519PrivateKey.generate()
    return private_key(made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(), None)


def pin(key: paramiko.PKey) -> HostKey:
    """What a device with this key is pinned to."""
    return HostKey(key.get_name(), key.asbytes())


def target(port: int, pinned: paramiko.PKey | None = None, **timeouts: timedelta) -> Target:
    """The server at this port."""
    wanted = None if pinned is None else pin(pinned)
    return Target("127.0.0.1", port, wanted, legacy_ssh=False, timeouts=Timeouts(**timeouts))


def collect(port: int, **timeouts: timedelta) -> Reply:
    """Open a session with whatever is there, and export."""
    with SshCollector().session(target(port, None, **timeouts), lambda _: None, login) as session:
        return session.run("/export")


def login() -> Login:
    """The one that strangers are after."""
    return Login("backup", SECRET)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection in a thread; gives the port. An OSError there is the client's leaving."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    serve(connection)
                except (OSError, EOFError):
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(30)
            assert not thread.is_alive()


def until_gone(connection: socket.socket) -> None:
    """Read until the client leaves."""
    while connection.recv(65536):
        pass


def hang_up(connection: socket.socket, *, reset: bool = False) -> None:
    """End a connection at once, in the orderly way of TCP or by its reset, which drops what is on its way."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    else:
        connection.shutdown(socket.SHUT_RDWR)


class Packets(Packetizer):
    """Of a server that times nothing: a timer would outlive its connection, and be counted by whoever looks."""

    def start_handshake(self, timeout: float) -> None:
        """Start no timer."""


class ServingTransport(_Transport):
    """The server's side; hangs up `after` a step of the key exchange, and keeps what the client offered."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection, packetizer_class=Packets)
        self.connection = connection
        self.after = ""
        self.resets = False
        self.client_offers: list[dict[str, list[str]]] = []
        self.negotiates_macs = True

    def leave(self, step: str) -> None:
        """Hang up if this is the step."""
        if step == self.after:
            hang_up(self.connection, reset=self.resets)
            raise EOFError

    def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = False) -> dict[str, list[str]]:
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        if not ignore_first_byte:
            self.client_offers.append({name: list(names) for name, names in parsed.items() if name.endswith("_list")})
            if not self.negotiates_macs:  # nor does OpenSSH with a cipher that needs none
                parsed["client_mac_algo_list"] = parsed["server_mac_algo_list"] = list(
                    self.get_security_options().digests
                )
        return parsed

    def _parse_kex_init(self, m: Message) -> None:
        super()._parse_kex_init(m)
        self.leave("key exchange init")

    def _parse_newkeys(self, m: Message) -> None:
        super()._parse_newkeys(m)
        self.leave("new keys")


Answer = Callable[[paramiko.Transport, paramiko.Channel], None]


class Server(paramiko.ServerInterface):
    """Takes any password, and answers an exec request with `answer`."""

    methods = "password"
    verdict = AUTH_SUCCESSFUL
    none_verdict = AUTH_FAILED
    opens = OPEN_SUCCEEDED
    runs = True
    prompts: tuple[tuple[str, bool], ...] = ()
    hang_up_at_login = False
    after = ""  # the step after which it hangs up
    resets = False
    negotiates_macs = True
    keys: Sequence[paramiko.PKey] = (ECDSA,)
    speaks: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # fields of paramiko's SecurityOptions
    signatures: tuple[str, ...] = ()  # that it takes from a client's RSA key

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heard: list[str] = []
        self.transport: ServingTransport | None = None

    def leave(self, step: str) -> None:
        """Hang up if this is the step."""
        assert self.transport is not None
        self.transport.leave(step)

    def get_allowed_auths(self, username: str) -> str:
        """What the failures list."""
        return self.methods

    def check_auth_none(self, username: str) -> int:
        """A query, unless it is let in."""
        self.leave("login methods")
        return self.none_verdict

    def check_auth_password(self, username: str, password: str) -> int:
        """Note it."""
        self.heard.append(password)
        self.leave("password")
        if self.hang_up_at_login and self.transport is not None:
            self.transport.sock.shutdown(socket.SHUT_RDWR)
        return self.verdict

    def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery:
        """Ask what the test wants asked."""
        query = InteractiveQuery("", "")
        for prompt, echo in self.prompts:
            query.add_prompt(prompt, echo)
        return query

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        """Note them."""
        self.heard.extend(responses)
        if self.hang_up_at_login and self.transport is not None:
            self.transport.sock.shutdown(socket.SHUT_RDWR)
        return self.verdict

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Take any key that can sign."""
        return self.verdict

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Open a session, or not."""
        self.leave("channel open")
        return self.opens

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Run a command, or not; the answer starts when the client has been told so."""
        self.leave("exec")
        transport = self.transport
        assert transport is not None
        send: Callable[[Message], None] = transport._send_user_message  # type: ignore[attr-defined]

        def send_and_answer(message: Message) -> None:
            send(message)
            if message.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
                threading.Thread(target=self.answer, args=(transport, channel)).start()

        transport._send_user_message = send_and_answer  # type: ignore[attr-defined]
        return self.runs

    def serve(self, connection: socket.socket) -> None:
        """Serve one connection to its end."""
        self.transport = transport = ServingTransport(connection)
        transport.after, transport.resets, transport.negotiates_macs = self.after, self.resets, self.negotiates_macs
        try:
            for key in self.keys:
                transport.add_server_key(key)
            for field, names in self.speaks.items():
                setattr(transport.get_security_options(), field, names)
            if self.signatures:
                transport._preferred_pubkeys = self.signatures  # type: ignore[attr-defined]
            transport.start_server(event=threading.Event(), server=self)
            transport.join(30)
        finally:
            transport.close()
            transport.join(5)


@contextmanager
def serving(server: Server) -> Iterator[int]:
    """Serve one SSH connection; gives the port."""
    with listening(server.serve) as port:
        yield port


def tell(transport: paramiko.Transport, kind: bytes, channel: paramiko.Channel, *fields: str | bool | int) -> None:
    """Send one raw message about a channel."""
    message = Message()
    message.add_byte(kind)
    message.add_int(channel.remote_chanid)
    for item in fields:
        if isinstance(item, bool):
            message.add_boolean(item)
        elif isinstance(item, int):
            message.add_int(item)
        else:
            message.add_string(item)
    transport._send_user_message(message)  # type: ignore[attr-defined]


def say(*parts: str) -> Callable[[paramiko.Transport, paramiko.Channel], None]:
    """An answer: some output, then the named messages in order."""

    def answer(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        channel.sendall(b"/ip dns\r\n")
        for part in parts:
            match part:
                case "eof":
                    tell(transport, cMSG_CHANNEL_EOF, channel)
                case "close":
                    tell(transport, cMSG_CHANNEL_CLOSE, channel)
                case "status":
                    tell(transport, cMSG_CHANNEL_REQUEST, channel, "exit-status", False, 3)
                case "cut":
                    transport.sock.shutdown(socket.SHUT_RDWR)
                case _:
                    tell(transport, cMSG_CHANNEL_REQUEST, channel, "exit-signal", False, "KILL", False, "", "")

    return answer
