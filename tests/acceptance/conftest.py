"""What acceptance tests stand on: a real OpenSSH server that answers like a router, and exports for it to give."""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.install import Install
from tests.acceptance.openssh import IS_ROOT, OpenSshServer, program, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def ssh_account() -> Iterator[tuple[str, str]]:
    """Name and password of a user who exists for these tests only; as an ordinary user, oneself without password."""
    if not IS_ROOT:
        yield pwd.getpwuid(os.geteuid()).pw_name, ""
        return
    user, password = f"bftest{secrets.token_hex(4)}", secrets.token_urlsafe(18)
    subprocess.run(
        [program("useradd"), "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", user],
        check=True,
        capture_output=True,
    )
    try:
        subprocess.run([program("chpasswd")], input=f"{user}:{password}\n".encode(), check=True, capture_output=True)
        yield user, password
    finally:
        subprocess.run([program("userdel"), user], check=True, capture_output=True)


@pytest.fixture
def openssh_server(ssh_account: tuple[str, str]) -> Iterator[OpenSshServer]:
    """A server that runs and takes every kind of login; one attempt a connection (MaxAuthTries 1)."""
    with serving(*ssh_account) as server:
        yield server


@pytest.fixture(scope="session")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """An install, by `backupflow up`, for more than one module: each has devices of its own, and counts only those.

    Each device is collected once, at once; from then on only what is asked for.
    """
    settings = {"CONFIG_BACKUP_INTERVAL": 36_000, "CONFIG_BACKUP_SPREAD_FROM": 0, "CONFIG_BACKUP_SPREAD_TO": 0}
    it = Install(tmp_path_factory.mktemp("collecting"), FLOWER_LISTEN="", **settings)  # with Flower, on a free port
    it.start()
    try:
        yield it
    finally:
        it.stop()


@pytest.fixture(scope="session")
def exports() -> dict[str, bytes]:
    """Exports to collect: made by hand (CRLF, raw 8-bit bytes, 2.4 MB), and the real ones where the corpus lies."""
    line = b'add action=accept chain=forward comment="rule %d" dst-address=192.0.2.%d\r\n'
    long = b"# 2026-01-02 03:04:05 by RouterOS 7.14\r\n/ip firewall filter\r\n"
    long += b"".join(line % (number, number % 256) for number in range(34_000))
    made = {
        "made: CRLF": b"# jan/02/1970 00:24:39 by RouterOS 6.49.7\r\n/ip dns\r\nset servers=192.0.2.1\r\n",
        "made: every byte": b'# by RouterOS 6.40\r\n/system note\r\nset note="' + bytes(range(256)) * 8 + b'"\r\n',
        "made: 2.4 MB": long,
        "made: LF, no final newline": b"# by RouterOS 7.1\n/ip dns\nset servers=192.0.2.1",
    }
    assert len(long) > 2_400_000
    return made | {path.name: path.read_bytes() for path in _corpus()}


def _corpus() -> list[Path]:
    beside = Path(__file__).resolve().parents[3] / "shared" / "corpus"
    folder = Path(os.environ.get("BACKUPFLOW_CORPUS", beside)) / "export"
    return sorted(folder.glob("*.rsc"))


@pytest.fixture(scope="session")
def telling_exports(exports: dict[str, bytes], size: str) -> dict[str, bytes]:
    """The made ones, and of the real ones the largest, one with CRLF and one with 8-bit bytes; all in a soak."""
    real = {name: text for name, text in exports.items() if not name.startswith("made")}
    if size == "soak":
        return exports
    traits: tuple[Callable[[bytes], bool], ...] = (
        lambda text: len(text) == max(map(len, real.values())),
        lambda text: b"\r\n" in text,
        lambda text: not text.isascii(),
    )
    chosen = {next((name for name, text in real.items() if trait(text)), None) for trait in traits}
    return {name: text for name, text in exports.items() if name in chosen or name.startswith("made")}
