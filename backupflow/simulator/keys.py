"""Host keys of simulated routers: cheap to make, and the same again for the same seed where the type allows it."""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING

import asyncssh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.simulator.spec import HostKeyType, Login, RouterSpec

_ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_MODERN = {
    # The first of these is what a client takes that knows it: the cheap exchanges stand first.
    "kex_algs": [
        "curve25519-sha256@libssh.org",
        "curve25519-sha256",
        "ecdh-sha2-nistp256",
        "diffie-hellman-group14-sha256",
    ],
    "encryption_algs": ["aes128-ctr", "aes192-ctr", "aes256-ctr", "aes256-gcm@openssh.com"],
    "mac_algs": ["hmac-sha2-256", "hmac-sha2-512"],
}
_LEGACY = {
    "kex_algs": ["diffie-hellman-group14-sha1"],
    "encryption_algs": ["aes128-ctr", "aes256-ctr"],
    "mac_algs": ["hmac-sha1"],
}


class SimulatedHostKey:
    """One host key: number `generation` of its router. Made from the seed, but for RSA, and only when asked for."""

    def __init__(self, spec: RouterSpec, key_type: HostKeyType, generation: int) -> None:
        self.key_type = key_type
        self.generation = generation
        self._seed = hashlib.sha256(f"{spec.seed}/{spec.name}/{key_type}/{generation}".encode()).digest()

    @cached_property
    def private(self) -> asyncssh.SSHKey:
        """The private key."""
        key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if self.key_type == "ed25519":
            key = ed25519.Ed25519PrivateKey.from_private_bytes(self._seed)
        elif self.key_type == "ecdsa":
            key = ec.derive_private_key(int.from_bytes(self._seed) % (_ORDER_P256 - 1) + 1, ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return asyncssh.import_private_key(pem)

    @property
    def blob(self) -> bytes:
        """The public key as SSH sends it (RFC 4253, section 6.6)."""
        return bytes(self.private.public_data)

    @property
    def fingerprint(self) -> str:
        """`SHA256:` and the unpadded base64, as ssh-keygen prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def algorithms(self, *, legacy: bool) -> tuple[bytes, ...]:
        """What it signs with: an RSA key with SHA-1 or with SHA-2, the others with the one that they have."""
        if self.key_type != "rsa":
            return (self.private.algorithm,)
        return (b"ssh-rsa",) if legacy else (b"rsa-sha2-256", b"rsa-sha2-512")


def server_options(keys: Sequence[SimulatedHostKey], *, legacy: bool) -> asyncssh.SSHServerConnectionOptions:
    """What a server with these keys offers; no DNS, no GSS, no time-outs of its own."""
    options = asyncssh.SSHServerConnectionOptions(
        server_version="ROSSSH",
        server_host_keys=[key.private for key in keys],
        gss_host=None,
        login_timeout=0,
        compression_algs=["none"],
        line_editor=False,
        encoding=None,
        **(_LEGACY if legacy else _MODERN),
    )
    # asyncssh would offer every signature of an RSA key.
    pairs = {pair.public_data: pair for pair in options.server_host_keys.values()}
    options.server_host_keys = OrderedDict(
        (name, pairs[key.blob]) for key in keys for name in key.algorithms(legacy=legacy)
    )
    return options


def admits(login: Login, key: asyncssh.SSHKey) -> bool:
    """Whether the user may come in by this key."""
    return any(asyncssh.import_public_key(text).public_data == key.public_data for text in login.public_keys)
