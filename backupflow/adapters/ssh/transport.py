"""paramiko's transport, with what it does not do by itself: remember what the server said, ask for a service once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import paramiko
from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_FAILURE, MSG_CHANNEL_REQUEST
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.message import Message
from paramiko.packet import Packetizer

from backupflow.adapters.ssh.algorithms import MODERN, RSA, RSA_LEGACY, TO_DEVICE
from backupflow.adapters.ssh.bounded import Bounded, check_parts
from backupflow.adapters.ssh.internals import TransportInside
from backupflow.adapters.ssh.wire import BEFORE_LOGIN

if TYPE_CHECKING:
    import socket

    from backupflow.adapters.ssh.wire import Line

SIGNING = tuple(reversed(RSA))  # RFC 8332, section 3: rsa-sha2-256 is recommended to all, -512 is optional
# All that a connection raises when it fails: see Transport.get_exception.
BROKEN = (paramiko.SSHException, EOFError, OSError)
CLIENT_NAME = "SSH-2.0-backupflow"
# RouterOS loses the tail of a long export when the client's window is small, so the window is never the limit: the
# byte cap of the target is, and it is far below.
WINDOW = 64 * 1024 * 1024
PACKET = 64 * 1024
_NO_EXCHANGE = ("ext-info-", "kex-strict-")  # signs that travel in the list of key exchanges
_LONGEST_QUOTE = 160
_BANNER_SECONDS = 3600.0  # and other limits of paramiko's: the watchdog is sooner


class _Packets(Packetizer):
    def read_message(self) -> tuple[int, Message]:
        kind, message = super().read_message()
        bounded = Bounded(message.asbytes())
        bounded.seqno = message.seqno
        return kind, bounded

    def start_handshake(self, timeout: float) -> None:
        """Start no timer thread for each handshake, as paramiko does: the watchdog ends what is overdue."""


Handle = Callable[[paramiko.Channel, Message], None]


def _noting_table(table: dict[int, Handle]) -> dict[int, Handle]:
    noted = {MSG_CHANNEL_CLOSE, MSG_CHANNEL_FAILURE, MSG_CHANNEL_REQUEST}
    return {kind: _noting(kind, handle) if kind in noted else handle for kind, handle in table.items()}


def _noting(kind: int, handle: Handle) -> Handle:
    """Note that the server itself sent this message, before paramiko handles it."""

    def note(channel: paramiko.Channel, message: Message) -> None:
        transport = channel.get_transport()
        if isinstance(transport, Transport):
            transport.told.add((channel.get_id(), _what(kind, message)))
        handle(channel, message)

    return note


def _what(kind: int, message: Message) -> str:
    if kind != MSG_CHANNEL_REQUEST:
        return "close" if kind == MSG_CHANNEL_CLOSE else "refused"
    request = message.get_text()
    message.rewind()
    message.get_int()  # the channel's number, which paramiko has read before
    return "signal" if request == "exit-signal" else "request"


class Transport(TransportInside):
    """One client connection; `told` and `offered` hold what the server said, for whoever has to judge its end.

    `agreed` has the algorithms that were used so far, those of later key exchanges and of the login's signature too.
    """

    # RFC 8731: the same exchange under its standard name, the only one that some servers offer.
    _kex_info = {**TransportInside._kex_info, "curve25519-sha256": KexCurve25519}  # noqa: RUF012, SLF001 - as paramiko does
    _preferred_kex = ("curve25519-sha256", *TransportInside._preferred_kex)  # noqa: SLF001
    _channel_handler_table = _noting_table(TransportInside._channel_handler_table)  # noqa: SLF001

    def __init__(self, wire: Line, on_banner: Callable[[], None]) -> None:
        super().__init__(
            cast("socket.socket", wire),
            default_window_size=WINDOW,
            default_max_packet_size=PACKET,
            packetizer_class=_Packets,
        )
        self.local_version = CLIENT_NAME
        self.banner_timeout = self.clear_to_send_timeout = self.channel_timeout = _BANNER_SECONDS
        self.auth_timeout = _BANNER_SECONDS
        self.offered: dict[str, list[str]] = {}
        self.agreed: set[str] = set()
        self.told: set[tuple[int, str]] = set()
        self.disconnected = False
        self.unproven = False
        self._wire = wire
        self._on_banner = on_banner

    @property
    def network_gone(self) -> bool:
        """Whether it was the network that ended the connection, and not the server."""
        return self._wire.network_gone

    @property
    def modern(self) -> bool:
        """Whether neither SHA-1 nor CBC was used so far."""
        return self.agreed <= MODERN

    def end(self, patience: float) -> None:
        """End the thread, then close; `patience` is in seconds.

        The socket is shut first and closed last: closed under the thread, its number could already be that of another
        session's socket.
        """
        self.cut()
        if self.is_alive():
            self.join(patience)
        self.stop_thread()

    def cut(self) -> None:
        """End it without waiting: nobody is heard any more, and whoever wants to send something gives up."""
        self.active = False
        self._wire.shut()

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The host key algorithms as they were set: no certificates, which paramiko would add to each."""
        return tuple(self.get_security_options().key_types)

    def ours(self) -> dict[str, tuple[str, ...]]:
        """What is offered from here, by the same words as `offered`."""
        options = self.get_security_options()
        return {
            "key exchange": tuple(options.kex),
            "host key": tuple(options.key_types),
            "cipher": tuple(options.ciphers),
            "MAC": tuple(options.digests),
        }

    def prefer_rsa_like_the_host_key(self) -> None:
        """Sign with the RSA algorithm that the server used itself, if it does not say which it takes (RFC 8308).

        A router that knows only ssh-rsa refuses a signature of another kind as it refuses a wrong key.
        """
        others = [name for name in self._preferred_pubkeys if name not in {*RSA, RSA_LEGACY}]
        spoken = [name for name in (*SIGNING, RSA_LEGACY) if name in self.get_security_options().key_types]
        spoken = sorted(spoken or SIGNING, key=lambda name: name != self.host_key_type)
        self._preferred_pubkeys = (*others, *spoken)

    def get_exception(self) -> Exception | None:
        """What ended the connection: one of BROKEN, whatever hostile input made paramiko stumble over.

        It may quote the server, so it is made printable: someone may log it as the cause of an error of ours.
        """
        exc = super().get_exception()
        if exc is None:
            return None
        if isinstance(exc, paramiko.SSHException):
            exc.args = tuple(ascii(arg)[:_LONGEST_QUOTE] for arg in exc.args)
        if isinstance(exc, BROKEN):
            return exc
        wrapped = paramiko.SSHException(f"protocol error: {type(exc).__name__}")
        wrapped.__cause__ = exc
        return wrapped

    def _check_banner(self) -> None:
        super()._check_banner()
        self._wire.allowance = BEFORE_LOGIN
        self._on_banner()

    def _really_parse_kex_init(self, m: Message, ignore_first_byte: bool = False) -> dict[str, list[str]]:  # noqa: FBT001, FBT002 - as paramiko has it
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)
        if not ignore_first_byte:  # else it is this end's own
            self.offered = {
                "key exchange": [name for name in parsed["kex_algo_list"] if not name.startswith(_NO_EXCHANGE)],
                "host key": list(parsed["server_key_algo_list"]),
            }
            self.hear("", parsed["server_encrypt_algo_list"], parsed["server_mac_algo_list"])
            self.hear(TO_DEVICE, parsed["client_encrypt_algo_list"], parsed["client_mac_algo_list"])
        return parsed

    def hear(self, direction: str, ciphers: list[str], macs: list[str]) -> None:
        """Note what is offered in one direction.

        A cipher that authenticates by itself is used without a MAC, and none is negotiated then (OpenSSH's PROTOCOL,
        section 1.6); paramiko fails if there is none in common, so that it is given its own.
        """
        self.offered["cipher" + direction] = list(ciphers)
        options = self.get_security_options()
        if self.authenticates(next((name for name in options.ciphers if name in ciphers), "")):
            macs[:] = options.digests
        else:
            self.offered["MAC" + direction] = list(macs)

    def authenticates(self, cipher: str) -> bool:
        """Whether a cipher needs no MAC."""
        return bool(self._cipher_info.get(cipher, {}).get("is_aead"))

    def _parse_kex_init(self, m: Message) -> None:
        super()._parse_kex_init(m)
        kex = {name for name, kind in self._kex_info.items() if kind is type(self.kex_engine)}  # synonyms
        self.agreed |= {min(kex), self.host_key_type, self.local_cipher, self.remote_cipher}
        self.agreed |= {self.local_mac, self.remote_mac}  # one of ours where none is used

    def _verify_key(self, host_key: bytes, sig: bytes) -> None:
        self.unproven = True  # stays so if the server cannot sign with the key that it shows
        check_parts(host_key)
        check_parts(sig)
        signature = Bounded(sig)
        if signature.get_text() != self.host_key_type:
            raise paramiko.SSHException("the host key signed with another algorithm than was agreed")
        if self.host_key_type.startswith("ecdsa-"):
            check_parts(signature.get_binary())
        first = self.host_key
        super()._verify_key(host_key, sig)
        if first is not None and self.host_key != first:  # the one that was admitted
            self.host_key = first
            raise paramiko.SSHException("another host key in a later key exchange")
        self.unproven = False

    def _parse_disconnect(self, _m: Message) -> None:
        self.disconnected = True  # the server's own wish, unlike a connection that broke
