"""What acceptance tests stand on: a real OpenSSH server that answers like a router, and exports for it to give."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.openssh import IS_ROOT, PASSPHRASE, SCRIPT, OpenSshServer, program

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
    user, password = ssh_account
    # Not tmp_path: the temporary user must get in.
    with tempfile.TemporaryDirectory(prefix="backupflow-sshd-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _furnish(folder, user)
        server = OpenSshServer(folder, user, password)
        server.set_answer(b"", "v7")
        if IS_ROOT:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
            shutil.chown(folder / "answer", user)
            (folder / "answer").chmod(0o400)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _furnish(folder: Path, user: str) -> None:
    def make_key(name: str, kind: str, passphrase: str) -> None:
        command = [program("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-f", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)

    make_key("host_key", "ed25519", "")
    make_key("user_key", "rsa", PASSPHRASE)
    (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
    (folder / "answer.sh").write_text(SCRIPT.format(folder=folder))
    # Hostile, as banners are: it must show nowhere.
    (folder / "banner").write_bytes(b"\x1b]0;owned\x07\x1b[2J" + user.encode() + b"\r\n" * 20)


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
