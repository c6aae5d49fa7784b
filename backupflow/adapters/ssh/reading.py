"""What one exec command answers: both streams read together, and a judgement on how they ended."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import paramiko

from backupflow.core.driver import Reply
from backupflow.errors import CommandRejected, OutputTooLarge, OutputTruncated

if TYPE_CHECKING:
    from backupflow.adapters.ssh.transport import Transport

_CHUNK = 1024 * 1024
_STATUS_SECONDS = 5.0  # after the end of both streams the exit status is at most a round trip away, or never sent
_NO_STATUS = -1  # paramiko's word for none; one on the wire is unsigned


class _Wake(threading.Event):
    """Set by either stream when it has something or ends.

    paramiko clears its event when one stream is empty, though the other may not be: here only the reader clears it.
    """

    def clear(self) -> None:
        """Stay set."""

    def read(self) -> None:
        """Forget what was said so far; to be called before looking."""
        super().clear()


def run(transport: Transport, command: str, max_bytes: int) -> Reply:
    """Run a command (no terminal) on a channel of its own and read it to its end.

    Raises CommandRejected if the server does not let it run, OutputTooLarge, OutputTruncated.
    """
    try:
        channel = transport.open_session()
    except paramiko.ChannelException as exc:
        raise CommandRejected("the device opens no session") from exc
    try:
        wake = _Wake()
        channel.in_buffer.set_event(wake)
        channel.in_stderr_buffer.set_event(wake)
        try:
            channel.exec_command(command)  # 6
        except paramiko.SSHException as exc:
            if (channel.get_id(), "refused") in transport.told:
                raise CommandRejected("the device runs no command over SSH") from exc
            raise
        stdout, stderr = _read(channel, wake, max_bytes)  # 7
        return Reply(command, stdout, stderr, _end(transport, channel))  # 8
    finally:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.close()


def _read(channel: paramiko.Channel, wake: _Wake, max_bytes: int) -> tuple[bytes, bytes]:
    stdout, stderr = bytearray(), bytearray()
    while True:
        wake.wait()
        wake.read()
        ended = channel.eof_received or channel.closed  # asked first: what came before the end is read below
        while channel.recv_ready() or channel.recv_stderr_ready():
            if channel.recv_ready():
                stdout += channel.recv(_CHUNK)
            if channel.recv_stderr_ready():
                stderr += channel.recv_stderr(_CHUNK)
            if len(stdout) + len(stderr) > max_bytes:
                raise OutputTooLarge(f"more than {max_bytes} bytes")
        if ended:
            return bytes(stdout), bytes(stderr)


def _end(transport: Transport, channel: paramiko.Channel) -> int | None:
    """Tell an output that ended from one that broke off; give the exit status, None if the server sent none."""
    channel.status_event.wait(_STATUS_SECONDS)
    number = channel.get_id()
    status = None if channel.exit_status == _NO_STATUS else channel.exit_status
    if (number, "signal") in transport.told:
        raise OutputTruncated("the command was killed on the device")
    if channel.eof_received:
        return status
    if (number, "close") not in transport.told:
        raise OutputTruncated("the connection broke")
    if status is None:
        raise OutputTruncated("the channel was closed without an end of file or an exit status")
    return status
