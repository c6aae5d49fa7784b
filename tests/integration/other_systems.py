"""Servers on the loopback that answer as LibreNMS and NetBox do, and as broken ones do."""

from __future__ import annotations

import datetime as dt
import gzip
import ipaddress
import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "t0ken-0f-the-tests"


@dataclass
class Asked:
    """One request as it came."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Answer:
    """What is sent back; `drip` sends byte after byte until `ended` is set."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip: bool = False
    cut: bool = False  # closes before all of it was sent


class Other:
    """A server whose answers a test decides."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.ended = threading.Event()
        self.port = 0
        self.scheme = "http"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextmanager
def running(answer: Callable[[Asked], Answer], context: ssl.SSLContext | None = None) -> Iterator[Other]:
    """Run one while the block lasts."""
    other = Other(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(parts.path, parse_qs(parts.query, keep_blank_values=True), dict(self.headers.items()))
            other.asked.append(asked)
            _send(self, other.answer(asked), other)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is declared
            """Nothing is written."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    server.block_on_close = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        other.scheme = "https"
    other.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield other
    finally:
        other.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _send(handler: BaseHTTPRequestHandler, answer: Answer, other: Other) -> None:
    handler.send_response(answer.status)
    handler.send_header("Content-Type", "application/json")
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    length = len(answer.body) + (1000 if answer.cut or answer.drip else 0)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()
    try:
        handler.wfile.write(answer.body)
        while answer.drip and not other.ended.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()
    except OSError:
        pass  # who asked has had enough
    handler.close_connection = True


def said(value: Any, status: int = 200, **headers: str) -> Answer:  # noqa: ANN401 - any JSON
    """JSON."""
    return Answer(status, json.dumps(value).encode(), dict(headers))


def bomb(size: int) -> Answer:
    """A small answer that unpacks to so many bytes."""
    return Answer(200, gzip.compress(b" " * size), {"Content-Encoding": "gzip"})


@dataclass
class NetBox:
    """A list of devices in pages; `next` names wherever `elsewhere` says."""

    devices: list[dict[str, Any]]
    elsewhere: str = ""
    shrinks: int = 0  # so many times the list is one shorter after its first page
    largest_page: int = 1000

    def __call__(self, asked: Asked) -> Answer:
        """As `/api/dcim/devices/` answers."""
        if asked.headers.get("authorization", asked.headers.get("Authorization")) != f"Token {TOKEN}":
            return said({"detail": "Invalid token"}, 403)
        if asked.path != "/api/dcim/devices/":
            return said({"detail": "Not found."}, 404)
        offset, limit = (int(asked.query.get(name, ["0"])[0]) for name in ("offset", "limit"))
        limit = min(limit or 50, self.largest_page)
        wanted = [it for it in self.devices if _passes(it, asked.query)]
        if offset and self.shrinks:
            self.shrinks -= 1
            wanted = wanted[1:]
        more = offset + limit < len(wanted)
        where = f"{self.elsewhere}/api/dcim/devices/?limit={limit}&offset={offset + limit}" if more else None
        return said({"count": len(wanted), "next": where, "previous": None, "results": wanted[offset : offset + limit]})


def _passes(device: dict[str, Any], query: dict[str, list[str]]) -> bool:
    tags = {tag["slug"] for tag in device.get("tags", ())}
    return not query.get("tag") or tags.issuperset(query["tag"])


def netbox_device(number: int, name: str | None = None, **other: Any) -> dict[str, Any]:  # noqa: ANN401
    """A device as NetBox 4 describes one."""
    url = "http://netbox.invalid/api/dcim"
    address = {"id": number, "url": f"{url}/x/{number}/", "address": f"192.0.2.{number % 250 + 1}/24"}
    return {
        "id": number,
        "url": f"{url}/devices/{number}/",
        "name": name if name is not None else f"r{number}",
        "device_type": {"id": 1, "url": f"{url}/device-types/1/", "model": "CCR",
                        "manufacturer": {"id": 1, "name": "MikroTik", "slug": "mikrotik"}},
        "role": {"id": 1, "url": f"{url}/device-roles/1/", "name": "Edge", "slug": "edge"},
        "platform": {"id": 1, "url": f"{url}/platforms/1/", "name": "RouterOS", "slug": "routeros"},
        "site": {"id": 1, "url": f"{url}/sites/1/", "name": "North", "slug": "north"},
        "tenant": None,
        "location": None,
        "cluster": None,
        "status": {"value": "active", "label": "Active"},
        "primary_ip": address,
        "primary_ip4": address,
        "primary_ip6": None,
        "tags": [],
        "custom_fields": {},
    } | other  # fmt: skip


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the certificate that it is trusted by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, private = folder / "ca.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return context, file
