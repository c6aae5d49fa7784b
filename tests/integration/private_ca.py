"""A private authority, the certificates that it gives to servers, and TLS in front of a server that has none."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PIECE = 65_536


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """A server's side of TLS."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.certificate, self.key)
        return made


@dataclass(frozen=True)
class Authority:
    """An authority with a folder of its own; `file` is what it is trusted by."""

    folder: Path
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        """Write the authority's own certificate."""
        self.folder.mkdir(exist_ok=True)
        self.file.write_bytes(self._sign(self._key, self._name(), authority=True).public_bytes(Encoding.PEM))

    @property
    def file(self) -> Path:
        """Its certificate."""
        return self.folder / "ca.pem"

    def gives(self, name: str, *, days: int = 1) -> Pair:
        """A certificate for a name or an address; with negative days one that has expired."""
        pair = Pair(self.folder / f"{name}{days}.pem", self.folder / f"{name}{days}.key")
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(key, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), name, days)
        pair.certificate.write_bytes(made.public_bytes(Encoding.PEM))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair

    def _name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {self.folder.name}")])

    def _sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: x509.Name,
        host: str = "",
        days: int = 1,
        *,
        authority: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name())
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=10))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@contextmanager
def terminated(pair: Pair, port: int) -> Iterator[str]:
    """TLS in front of a port of this machine, as stunnel does it; gives the address. All is closed at the end."""
    context = pair.context
    listening = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(connection),
            context.wrap_socket(connection, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", port)) as inside,
        ):
            opened.extend((secure, inside))
            back = threading.Thread(target=_pump, args=(inside, secure), daemon=True)
            back.start()
            _pump(secure, inside)
            back.join()

    threading.Thread(target=_accept, args=(listening, opened, serve), daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        _close(listening, opened)


@contextmanager
def overheard(host: str, port: int) -> Iterator[tuple[str, bytearray]]:
    """A way to a server on which all that its clients say is heard; gives the address, and what was heard so far."""
    heard = bytearray()
    listening = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(connection),
            socket.create_connection((host, port)) as inside,
        ):
            opened.append(inside)
            threading.Thread(target=_pump, args=(inside, connection), daemon=True).start()
            while piece := connection.recv(_PIECE):
                heard.extend(piece)
                inside.sendall(piece)

    threading.Thread(target=_accept, args=(listening, opened, serve), daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}", heard
    finally:
        _close(listening, opened)


def _accept(listening: socket.socket, opened: list[socket.socket], serve: Callable[[socket.socket], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            opened.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def _close(listening: socket.socket, opened: list[socket.socket]) -> None:
    for one in (listening, *opened):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
    listening.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
