"""A command that is told an event: JSON on its standard input, the fields in its environment, nothing as an argument.

No shell, none of our environment but where programs, home and language are, and an end with all that it has started.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from backupflow.core.delivery import Answer
from backupflow.core.event_body import environment, masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

SECONDS = 30.0  # that it may take
KEPT = 4096  # bytes of what it prints; the rest is read and thrown away
_SHOWN = 200
_LOOK = 0.05  # seconds between two looks whether it has ended
_INHERITED = ("PATH", "HOME", "LANG")
_PIECE = 65_536


class CommandHook:
    """core.ports.Hook."""

    def __init__(self, words: Sequence[str], seconds: float = SECONDS) -> None:
        self._words = list(words)
        self._seconds = seconds

    def deliver(self, event_id: UUID, body: str) -> Answer:  # noqa: ARG002 - it stands in the body too
        """Run it once; delivered if it ends with 0 in time."""
        inherited = {os.fsencode(name): os.fsencode(os.environ[name]) for name in _INHERITED if name in os.environ}
        told = {name.encode(): value.encode(errors="replace") for name, value in environment(body).items()}
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, no shell
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=inherited | told,
                cwd="/",
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            return Answer(delivered=False, says=f"it cannot be started: {getattr(exc, 'strerror', None) or 'its name'}")
        with process:
            try:
                said, ended = _talk(process, body.encode(), time.monotonic() + self._seconds)
            finally:
                with suppress(ProcessLookupError):  # all that it has started, too; not reaped yet, so it is still its
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return _answer(process.returncode if ended else None, said, self._seconds)


def _talk(process: subprocess.Popen[bytes], text: bytes, until: float) -> tuple[bytes, bool]:
    """Write and read until it ends; what it printed first, and whether it ended in time."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    said, left = bytearray(), memoryview(text)
    with selectors.DefaultSelector() as pipes:
        for pipe, what in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
            os.set_blocking(pipe.fileno(), False)
            pipes.register(pipe, what)
        while True:
            ended = _has_ended(process.pid)
            ready = pipes.select(0 if ended else _LOOK) if pipes.get_map() else []
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    left = _write(key.fd, left)
                    done = not left
                else:
                    piece = _read(key.fd)
                    said += piece[: KEPT - len(said)]
                    done = not piece
                if done:
                    pipes.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
            if ended or time.monotonic() > until:
                return bytes(said), ended
            if not pipes.get_map():
                time.sleep(_LOOK)


def _has_ended(pid: int) -> bool:
    """Without taking its exit status: until then nobody else can get its number."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _write(pipe: int, left: memoryview) -> memoryview:
    try:
        return left[os.write(pipe, left[:_PIECE]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:  # it does not want to read it
        return left[:0]


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, _PIECE)
    except BlockingIOError:
        return b" "


def _answer(status: int | None, said: bytes, seconds: float) -> Answer:
    text = masked(said.decode(errors="replace"), _SHOWN)
    if status is None:
        how = f"it did not end within {seconds:.0f} s and was killed"
    elif status < 0:
        how = f"it was ended by signal {-status}"
    else:
        how = f"it ended with {status}"
    return Answer(delivered=status == 0, says=how, quoted=text)
