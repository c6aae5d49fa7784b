"""Routers with a marker wherever one of theirs holds a secret, and every way in which their collection may end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, RouterSpec
from backupflow.simulator import Login as Account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.search import Markers

LIMIT = 200_000  # bytes of the largest export that is accepted
# Every way in which a collection ends, by device: its state and code.
EXPECTED = {
    "plain": ("stored", None),
    "commented": ("stored", None),
    "interactive": ("stored", None),
    "key": ("stored", None),
    "talkative": ("stored", None),
    "changed": ("stored", None),
    "sshd": ("stored", None),
    "refused": ("blocked", "authentication_failed"),
    "cut": ("failed", "output_truncated"),
    "closed": ("failed", "output_truncated"),
    "status": ("failed", "output_truncated"),
    "page": ("failed", "not_a_configuration"),
    "rejected": ("failed", "command_rejected"),
    "complaining": ("failed", "command_rejected"),
    "great": ("failed", "output_too_large"),
    "stalled": ("failed", "device_timeout"),
    "mute": ("failed", "device_timeout"),
    "babbling": ("failed", "device_unreachable"),
}
GOOD = [name for name, (state, _) in EXPECTED.items() if state == "stored"]


def export(marker: str) -> bytes:
    """A whole one with a marker wherever a secret may stand."""
    return (
        "# 2026-01-02 03:04:05 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n"
        f'/interface bridge\r\nadd comment="{marker}" name=bridge\r\n/ppp secret\r\nadd name=u password={marker}\r\n'
        f'/system script\r\nadd name=s source="# {marker}\\r\\n:log info {marker}"\r\n'
        + "".join(f'/ip dns static\r\nadd address=192.0.2.{number} comment="{marker}"\r\n' for number in range(100))
    ).encode()


def specs(markers: Markers) -> Iterator[tuple[RouterSpec, Login]]:
    """The simulated routers and how to log in."""

    def answering(name: str, wrap: str = "{}", **behaviour: object) -> tuple[RouterSpec, Login]:
        text = export(markers.make(f"{name}: configuration"))
        if wrap != "{}":
            text = wrap.format(markers.make(f"{name}: answer")).encode()
        return router(name, raw_export=text, **behaviour)

    def router(name: str, **behaviour: object) -> tuple[RouterSpec, Login]:
        password = markers.make(f"{name}: password")
        marker = markers.make(f"{name}: simulated")
        account = Account("backup", password)
        spec = RouterSpec(name, logins=(account,), marker=marker, behaviour=Behaviour().changed(behaviour))
        return spec, Login("backup", password)

    yield router("plain")
    yield answering("commented")
    yield router("interactive", login_methods=("keyboard-interactive",))
    yield router("talkative", stderr=markers.make("talkative: stderr"))
    yield router("changed")
    yield router("refused", refuse_login=True)
    yield answering("cut", cut_after=3000)
    yield answering("closed", cut_after=3000, cut_manner="channel", exit_status=None)
    yield answering("status", exit_status=1)
    yield answering("page", "<html><title>{}</title></html>\r\n")
    yield answering("rejected", "bad command name {} (line 1 column 1)\r\n")
    yield router("complaining", raw_export=b"", stderr=f"failure: {markers.make('complaining: stderr')}\r\n")
    yield answering("great", export_size=2 * LIMIT)
    yield answering("stalled", stall_after=3000)
    yield router("mute", mute="command")
    yield with_key(markers)


def with_key(markers: Markers) -> tuple[RouterSpec, Login]:
    """A router that takes a key with a passphrase."""
    key, passphrase = Ed25519PrivateKey.generate(), markers.make("key: passphrase")
    openssh, pem = serialization.PrivateFormat.OpenSSH, serialization.Encoding.PEM
    sealed = serialization.BestAvailableEncryption(passphrase.encode())
    text = key.private_bytes(pem, openssh, sealed).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    markers.add("key: seed", key.private_bytes_raw())
    markers.add("key: text", text.splitlines()[2].encode())
    spec = RouterSpec(
        "key", logins=(Account("backup", None, (public.decode(),)),), marker=markers.make("key: simulated")
    )
    return spec, Login("backup", private_key=text, passphrase=passphrase)
