"""Target over the SSH client: whatever a server sends, a session ends in an answer or one of our errors, in time.

An input is a byte of switches and what the server says. Either it is sent as it is after the client connected (banner,
key exchange), or a real key exchange comes first and the rest is records, each a message that is sent encrypted: a byte
(bit 7: wait for a message of the client first; the others: how long the message is) and the message.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from paramiko.message import Message
from paramiko.packet import Packetizer

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import HostKey, Login, Timeouts
from backupflow.core.model import Target as Device
from backupflow.errors import BackupflowError
from tools.fuzz.harness import OverdueError, Target, law

if TYPE_CHECKING:
    from collections.abc import Iterator

EXCHANGED, LEGACY, KEY, PINNED = 1, 2, 4, 8  # the switches
_STEP: Final = timedelta(seconds=1.5)
_LATEST: Final = 15.0  # seconds, far above the four steps of a session: the machine may be busy
_MOST_BYTES: Final = 64 * 1024
_LONGEST_ERROR: Final = 1200  # characters: lists of algorithms
_CLIENT_SECONDS: Final = 0.05  # until the server does not wait for the client's next message any longer
_WAITS, _LENGTH = 0x80, 0x7F

_SERVER_KEY: Final = ec.derive_private_key(0x5EED, ec.SECP256R1())
_HOST_KEY: Final = paramiko.ECDSAKey(vals=(_SERVER_KEY, _SERVER_KEY.public_key()))
_LOGIN_KEY: Final = (
    ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    .decode()
)


class _Speaker(Packetizer):
    """After the key exchange says what the input holds, and no more."""

    owner: _Server | None = None

    def read_message(self) -> tuple[int, Message]:
        owner = self.owner
        if owner is None or not owner.exchanged:
            return super().read_message()
        for waits, payload in owner.records:
            if waits and select.select([owner.sock], [], [], _CLIENT_SECONDS)[0]:
                super().read_message()
            if payload:
                owner.say(payload)
        raise EOFError

    def start_handshake(self, timeout: float) -> None:
        """Start no timer."""


class _Server(paramiko.Transport):
    def __init__(self, sock: socket.socket, records: list[tuple[bool, bytes]]) -> None:
        super().__init__(sock, packetizer_class=_Speaker)
        self.records = iter(records)
        self.add_server_key(_HOST_KEY)
        speaker: Any = self.packetizer
        speaker.owner = self

    @property
    def exchanged(self) -> bool:
        inside: Any = self
        return bool(inside.initial_kex_done)

    def say(self, payload: bytes) -> None:
        message = Message()
        message.add_bytes(payload)
        inside: Any = self
        inside._send_message(message)  # noqa: SLF001 - there is no other way to send just this


def records_of(data: bytes) -> list[tuple[bool, bytes]]:
    """Read the records of an input; the last one may be short."""
    found, at = [], 0
    while at < len(data):
        length = data[at] & _LENGTH
        found.append((bool(data[at] & _WAITS), data[at + 1 : at + 1 + length]))
        at += 1 + length
    return found


def _serve(listener: socket.socket, data: bytes, *, exchanged: bool) -> None:
    try:
        connection, _ = listener.accept()
    except OSError:
        return  # nobody came
    with connection, suppress(OSError, EOFError):
        connection.settimeout(_LATEST)
        if exchanged:
            server = _Server(connection, records_of(data))
            server.start_server(event=threading.Event())
            server.join(_LATEST)
            connection.shutdown(socket.SHUT_RDWR)
            server.stop_thread()
        else:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


class _Session:
    """What one session with the client came to."""

    def __init__(self, port: int, switches: int) -> None:
        pinned = HostKey(_HOST_KEY.get_name(), _HOST_KEY.asbytes()) if switches & PINNED else None
        steps = Timeouts(_STEP, _STEP, _STEP, _STEP)
        self._target = Device("127.0.0.1", port, pinned, bool(switches & LEGACY), steps, _MOST_BYTES)
        self._login = Login("u", None, _LOGIN_KEY) if switches & KEY else Login("u", "p")
        self.admitted = self.asked = False
        self.failure: BaseException | None = None
        self.size = 0

    def run(self) -> None:
        """Log in and export, whatever comes of it."""
        try:
            with SshCollector().session(self._target, self._admit, self._ask) as session:
                reply = session.run("/export")
                self.size = len(reply.stdout) + len(reply.stderr)
        except BaseException as exc:  # noqa: BLE001 - looked at in the main thread
            self.failure = exc

    def _admit(self, _key: HostKey) -> None:
        self.admitted = True

    def _ask(self) -> Login:
        self.asked = True
        return self._login


def session(data: bytes) -> None:
    """Collect from a server that says just this."""
    switches, said = (data[0], data[1:]) if data else (0, b"")
    exchanged = bool(switches & EXCHANGED)
    threads, descriptors = set(threading.enumerate()), _descriptors()
    with _strays() as strays, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_LATEST)
        server = threading.Thread(target=_serve, args=(listener, said), kwargs={"exchanged": exchanged}, daemon=True)
        server.start()
        client = _Session(listener.getsockname()[1], switches)
        running = threading.Thread(target=client.run, daemon=True)
        running.start()
        running.join(_LATEST)
        if running.is_alive():
            raise OverdueError
        server.join(_LATEST)
    for stray in strays:
        raise stray
    _is_ours(client.failure)
    law(client.size <= _MOST_BYTES, "an answer is bounded")
    law(client.admitted or not client.asked, "no login before the host key is admitted")
    law(exchanged or not client.admitted, "no host key is admitted that was not proven")
    law(_settles(threads, descriptors), "threads and descriptors are at their baseline")


@contextmanager
def _strays() -> Iterator[list[BaseException]]:
    """Collect what ends a thread: nobody would hear of it."""
    found: list[BaseException] = []
    before = threading.excepthook
    threading.excepthook = lambda ended: found.append(ended.exc_value or RuntimeError("a thread died"))
    try:
        yield found
    finally:
        threading.excepthook = before


def _is_ours(failure: BaseException | None) -> None:
    if failure is not None and not isinstance(failure, BackupflowError):
        raise failure
    said = str(failure or "")
    law(len(said) <= _LONGEST_ERROR and (said == "" or said.isprintable()), "an error is printable and bounded")


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _settles(threads: set[threading.Thread], descriptors: int) -> bool:
    ends = time.monotonic() + _LATEST
    while time.monotonic() < ends:
        if threads.issuperset(threading.enumerate()) and _descriptors() <= descriptors:
            return True
        time.sleep(0.001)
    return False


def _text(*parts: bytes | int | str) -> bytes:
    """Put a message together: a byte string or text is sent with its length, a number below 256 first is a byte."""
    message = Message()
    for place, part in enumerate(parts):
        if isinstance(part, int):
            message.add_byte(bytes((part,))) if place == 0 else message.add_int(part)
        else:
            message.add_string(part)
    return message.asbytes()


def _record(payload: bytes, *, waits: bool = False) -> bytes:
    return bytes((len(payload) | _WAITS * waits,)) + payload


def _packet(payload: bytes) -> bytes:
    """Pad a message as RFC 4253, section 6, has it before there are keys."""
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0  # noqa: PLR2004 - the least that there may be
    return (len(payload) + padding + 1).to_bytes(4, "big") + bytes((padding,)) + payload + bytes(padding)


def _kexinit(*lists: str) -> bytes:
    message = Message()
    message.add_byte(b"\x14")
    message.add_bytes(bytes(16))
    for names in (*lists, "none", "none", "", ""):
        message.add_string(names)
    message.add_bytes(bytes(5))
    return _packet(message.asbytes())


def _seeds() -> Iterator[bytes]:
    old = "aes128-cbc"
    cipher, mac = "aes128-ctr", "hmac-sha2-256"
    banner = b"SSH-2.0-ROSSSH\r\n"
    for said in (b"", b"HTTP/1.1 400 x\r\n\r\n", b"SSH-1.5-x\r\n", b"hello\r\n" * 5, banner, banner + b"\xff" * 40):
        yield b"\0" + said
    kex = _kexinit("curve25519-sha256", "ecdsa-sha2-nistp256", cipher, cipher, mac, mac)
    group = _kexinit("diffie-hellman-group14-sha256", "rsa-sha2-256", cipher, cipher, mac, mac)
    chosen = _kexinit("diffie-hellman-group-exchange-sha256", "ssh-ed25519", cipher, cipher, mac, mac)
    shown = _packet(_text(31, _HOST_KEY.asbytes(), b"\x01" * 32, _text(0, "ecdsa-sha2-nistp256", b"s")[1:]))
    prime = _packet(_text(31, b"\x00" + b"\xff" * 256, b"\x02"))
    yield from (b"\0" + banner + kex, b"\0" + banner + kex + shown, b"\x08" + banner + kex + shown)
    yield from (b"\0" + banner + group + shown, b"\0" + banner + chosen + prime, b"\0" + banner + chosen + prime[:40])
    yield b"\x02" + banner + _kexinit("diffie-hellman-group1-sha1", "ssh-rsa", old, old, "hmac-sha1", "hmac-sha1")
    yield b"\0" + banner + _kexinit("x", "ssh-dss", old, old, "hmac-md5", "\x1b[31m")
    yield b"\0" + banner + _packet(_text(1, 2, "bye \x1b[31m", "")) + _packet(b"\x02") + _packet(b"\x04\x00")
    service = _record(_text(6, "ssh-userauth"), waits=True)
    methods = _record(_text(51, "password,keyboard-interactive,publickey") + b"\0", waits=True)
    granted = _record(b"\x34", waits=True)
    opened = _record(_text(91, 0, 0, 1 << 21, 1 << 15), waits=True)
    runs = _record(_text(99, 0), waits=True)
    output = _record(_text(94, 0, "# by RouterOS 7.14\n/a\nadd\n")) + _record(_text(95, 0, 1, "warning"))
    status = _record(_text(98, 0, "exit-status") + b"\0" + bytes(4))
    signal = _record(_text(98, 0, "exit-signal") + b"\0" + _text(0, "KILL")[1:] + b"\0" + bytes(8))
    ends = _record(_text(96, 0)) + _record(_text(97, 0))
    login = service + methods + granted
    asks = _record(_text(60, "t", "i", "", 1, "Password: ") + b"\0", waits=True)
    only = _record(_text(51, "keyboard-interactive") + b"\0", waits=True)
    takes = _record(_text(60, "ssh-ed25519", b"k"), waits=True)
    stories = (
        b"",
        service,
        service + methods + methods,
        service + only + asks + granted + opened + runs + output + status + ends,
        service + only + asks + asks + asks,
        service + _record(_text(53, "banner \x1b[2J", "en")) + granted + opened + runs + output + status + ends,
        login + opened + runs + output + status + ends,
        login + opened + runs + output + ends,
        login + opened + runs + output + signal + ends,
        login + opened + runs + output + _record(_text(96, 0)),
        login + _record(_text(92, 0, 1, "no \x1b[31m", "en"), waits=True),
        login + opened + _record(_text(100, 0), waits=True),
        login + opened + runs + _record(_text(93, 0, 0xFFFFFFFF)) + _record(_text(94, 9, "x")) + ends,
        login + _record(_text(90, "session", 7, 1, 1)) + opened + runs + ends,
        login + _record(_text(80, "keepalive") + b"\1") + _record(_text(1, 11, "bye", "en")),
        service + takes + granted + opened + runs + ends,
        _record(_text(7, 1, "server-sig-algs", "rsa-sha2-256,ssh-ed25519")) + service + granted + _record(b"\x14" * 30),
    )
    for switches in (EXCHANGED, EXCHANGED | PINNED, EXCHANGED | KEY):
        yield from (bytes((switches,)) + story for story in stories)
    # More extensions, or prompts, than fit in a message, and a number of which nothing came.
    yield bytes((EXCHANGED,)) + _record(b"\x07\x7f\xff\xff\xff")
    yield bytes((EXCHANGED,)) + service + only + _record(b"\x3c" + bytes(12) + b"\x7f\xff\xff\xff", waits=True)
    yield b"\0" + banner + group + _packet(b"\x1f" + bytes(4) + b"\0\x0f\xff\xff")
    # A service that is accepted before it is asked for, under a name that is no text.
    yield bytes((EXCHANGED | KEY,)) + _record(_text(6, b"\xff")) + service


_WORDS: Final = (
    *("ssh-userauth", "ssh-connection", "session", "exit-status", "exit-signal", "password", "keyboard-interactive"),
    *(
        "publickey",
        "none",
        "curve25519-sha256",
        "ssh-ed25519",
        "rsa-sha2-256",
        "ssh-rsa",
        "aes128-ctr",
        "hmac-sha2-256",
    ),
    *("ext-info-s", "kex-strict-s-v00@openssh.com", "server-sig-algs", "SSH-2.0-", "SSH-1.99-", "\r\n", "zlib"),
)
_TOKENS: Final = (
    *(word.encode() for word in _WORDS),
    *(
        _record(bytes((kind,)) + bytes(4), waits=True)
        for kind in (*range(1, 8), 20, 21, *range(50, 62), *range(80, 101))
    ),
    *(_record(bytes((kind,)) + b"\0\0\0\0\xff\xff\xff\xff") for kind in (60, 91, 93, 94, 95, 96, 97, 98, 99)),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80", b"\x14", b"\x15", b"\x1f", b"\x1b[31m"),
)
TARGETS: Final = (Target("ssh", session, tuple(_seeds()), _TOKENS, longest=4096, seconds=_LATEST),)
