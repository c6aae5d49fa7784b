"""Two streams, one reader."""

from __future__ import annotations

from typing import Any

from paramiko.buffered_pipe import BufferedPipe

from backupflow.adapters.ssh.reading import _Wake


def test_a_stream_that_is_empty_does_not_hush_the_other() -> None:
    """paramiko clears the event of a stream that was read empty, though the event may be of two streams."""
    wake = _Wake()
    stdout: Any = BufferedPipe()  # the stubs think that it holds text
    stderr: Any = BufferedPipe()
    stdout.set_event(wake)
    stderr.set_event(wake)
    stdout.feed(b"x")
    stderr.feed(b"y")
    assert stdout.read(10) == b"x"
    assert wake.is_set()
    wake.read()
    assert not wake.is_set()
    stdout.close()
    assert wake.is_set()
