"""Debian's own sshd, answering like a router: what the fixture `openssh_server` gives."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

Dialect = Literal["v6", "v7"]

PASSPHRASE = "a passphrase, with blanks"
# A user may log in by password only where sshd runs as root and the account has one: an ordinary user's sshd takes
# keys of that user alone. Not a skip: the ways that exist on this machine are the parameters of the tests.
IS_ROOT = os.geteuid() == 0
WAYS: tuple[str, ...] = ("password", "keyboard-interactive", "publickey") if IS_ROOT else ("publickey",)

# RouterOS says errors on stdout, and its version 6 does not know show-sensitive.
SCRIPT = """#!/bin/sh
cd {folder} || exit 70
case "$(cat dialect):$SSH_ORIGINAL_COMMAND" in
"v7:/export show-sensitive" | v6:/export | v7:/export) exec cat answer ;;
v6:"/export show-sensitive") printf 'expected end of command (line 1 column 9)\\r\\n' ;;
*) printf 'bad command name %s (line 1 column 1)\\r\\n' "$SSH_ORIGINAL_COMMAND" ;;
esac
"""

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM {pam}
PasswordAuthentication {password}
KbdInteractiveAuthentication {interactive}
PubkeyAuthentication yes
MaxAuthTries 1
AllowUsers {user}
Banner {folder}/banner
ForceCommand /bin/sh {folder}/answer.sh
LogLevel VERBOSE
"""
_PATIENCE = 20.0  # seconds for the server to listen


@dataclass
class OpenSshServer:
    """Debian's sshd on a free loopback port; every command is answered by a script, as a router would."""

    folder: Path
    user: str
    password: str = field(repr=False)
    port: int = 0
    passphrase: str = PASSPHRASE
    _process: subprocess.Popen[bytes] | None = None

    @property
    def key_path(self) -> Path:
        """An RSA key (OpenSSH format, with `passphrase`) that may log in."""
        return self.folder / "user_key"

    @property
    def host_key(self) -> tuple[str, bytes]:
        """Type and blob of the server's only key."""
        kind, text, *_ = (self.folder / "host_key.pub").read_text("ascii").split()
        return kind, base64.b64decode(text)

    @property
    def log(self) -> str:
        """What sshd has logged so far."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def logs(self, text: str) -> bool:
        """Wait until sshd has logged `text`: its processes write after the client has its answer."""
        ends = time.monotonic() + _PATIENCE
        while text not in self.log and time.monotonic() < ends:
            time.sleep(0.02)
        return text in self.log

    def set_answer(self, answer: bytes, version: Dialect) -> None:
        """What an export command answers from now on, in the manner of RouterOS 6 or 7."""
        (self.folder / "dialect").write_text(version)
        with (self.folder / "answer").open("wb") as file:
            file.write(answer)

    def start(self, *, methods: tuple[str, ...] = WAYS, more: str = "") -> None:
        """Start, on a new port, or start again with other login methods; returns when it listens.

        `more` are lines of its configuration.
        """
        self.stop()
        for _ in range(5):
            self.port = _free_port()
            if self._listens(methods, more):
                return
        pytest.fail(f"sshd does not start: {self.log}")

    def stop(self) -> None:
        """Stop it and whatever it forked."""
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.terminate()
        process.terminate()
        process.wait(_PATIENCE)

    def sessions(self) -> list[psutil.Process]:
        """Its processes for the connections that stand now."""
        assert self._process is not None
        return psutil.Process(self._process.pid).children(recursive=True)

    def _listens(self, methods: tuple[str, ...], more: str) -> bool:
        settings = {
            "pam": IS_ROOT,
            "password": "password" in methods,
            "interactive": "keyboard-interactive" in methods,
        }
        words = {name: "yes" if value else "no" for name, value in settings.items()}
        config = self.folder / "config"
        config.write_text(_CONFIG.format(port=self.port, folder=self.folder, user=self.user, **words) + more)
        with (self.folder / "log").open("wb") as log:
            # An absolute path: sshd starts itself anew for each connection.
            self._process = subprocess.Popen(
                [program("sshd"), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        ends = time.monotonic() + _PATIENCE
        while self._process.poll() is None and time.monotonic() < ends:
            if "Server listening on" in self.log:
                return True
            time.sleep(0.02)
        self.stop()
        return False


@contextlib.contextmanager
def serving(user: str, password: str, *, methods: tuple[str, ...] = WAYS) -> Iterator[OpenSshServer]:
    """A server of its own, with keys of its own, as long as the context lasts; it takes these kinds of login."""
    # Not pytest's folder: the temporary user must get in.
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
        server.start(methods=methods)
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


def program(name: str) -> str:
    """Where a program lies, also one of the system's own that are not in an ordinary user's PATH."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.fail(f"{name} is missing: install Debian's openssh-server")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
