"""The process that reads one session's answers for a worker, or interprets one change, and ends.

1. It dies with the thread that started it, and that thread waits for it: no worker leaves one behind. Asked for once
   more after prctl: a parent that was gone by then sends nothing. The two other ends, of processor time and of the
   clock, hold even where no signal comes.
2. It writes no file and no core: what it holds is a router's configuration.
3. It ignores what asks a whole group to stop: a worker that is asked to finish its work wants it finished.
4. Where memory runs out, the kernel ends it before the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from backupflow import drivers
from backupflow.adapters.reader import frame, interpret_wire, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

OUT_OF_MEMORY: Final = 3  # the status that it exits with then
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_DUMPABLE: Final = 4
_STDIN, _STDOUT = 0, 1
_LATER: Final = 5  # seconds after which the clock ends what its parent should have ended


def main(parent: int, processor_seconds: int, seconds: int, memory: int) -> None:
    """Read what stdin says, answer on stdout; returns never."""
    sys.excepthook = _tell_defect
    _confine(parent, processor_seconds, seconds, memory)
    _send([frame.READY])
    with open(_STDIN, "rb", closefd=False) as stream:
        asked = frame.header_of(stream)
        said = _interpreted(asked, stream) if asked.get(interpret_wire.ASKS) else _read(asked, stream)
    _send(said)
    os._exit(0)  # at once: taking a million objects apart again is nobody's business


def _read(header: Mapping[str, Any], stream: BinaryIO) -> list[bytes]:
    asked = wire.request_under(header, stream)
    return wire.answer(drivers.driver(asked.driver).read(asked.asking, asked.replies))


def _interpreted(header: Mapping[str, Any], stream: BinaryIO) -> list[bytes]:
    from backupflow.core.interpreting import answer  # noqa: PLC0415 - who reads for a collection is ready sooner without

    question = interpret_wire.question_under(header, stream)
    return interpret_wire.answer(answer(question, drivers.driver(question.driver)))


def _confine(parent: int, processor_seconds: int, seconds: int, memory: int) -> None:
    for asks_to_stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(asks_to_stop, signal.SIG_IGN)  # 3
    with contextlib.suppress(OSError):  # before it is undumpable, which makes root the owner of this file
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # 4
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # 1
    if os.getppid() != parent:
        os._exit(1)
    signal.alarm(seconds + _LATER)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # 2: a core that is piped to a program knows no limit (core(5))
    for which, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CPU, processor_seconds, processor_seconds + 1),
        (resource.RLIMIT_AS, memory, memory),
    ):
        _, most = resource.getrlimit(which)  # whoever started the worker may have allowed it less
        resource.setrlimit(
            which, (soft, hard) if most == resource.RLIM_INFINITY else (min(soft, most), min(hard, most))
        )


def _send(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[os.write(_STDOUT, left) :]


def _tell_defect(kind: type[BaseException], _exc: BaseException, _trace: TracebackType | None) -> None:
    if issubclass(kind, MemoryError):
        os._exit(OUT_OF_MEMORY)
    with contextlib.suppress(OSError):
        _send(wire.answer(frame.Defect(kind.__name__)))
    os._exit(1)
