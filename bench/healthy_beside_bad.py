"""Twenty healthy routers beside one, and then three, that send the worst texts: who misses a deadline?

The worker is this process, with its threads, SSH sessions and reader as shipped; the healthy routers run in a process
of their own, and so do the bad ones. A healthy router answers after 2 s and is asked again for as long as a bad one is
being collected. Each row says how slow the slowest healthy session was, against the same sessions without the bad
router just before, and for how long at most no other thread of the worker got to run (`stall`, milliseconds). The rows
`thread` are the control: the same, but all texts are read in the sessions' own threads.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from backupflow import drivers
from backupflow.adapters.reader import ProcessReader
from backupflow.adapters.reader.process import AS_SHIPPED, ReadingDefect
from backupflow.adapters.ssh import SshCollector
from backupflow.core.driver import Asking, Incomplete
from backupflow.core.model import HostKey, Login, SecretsPolicy, Target, Timeouts
from backupflow.errors import BackupflowError
from backupflow.simulator import Behaviour, Fleet, RouterSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.driver import Reply

HEALTHY = 20
ANSWERS_AFTER = timedelta(seconds=2)
TIMEOUTS = Timeouts(command=timedelta(seconds=10))
BAD_TIMEOUTS = Timeouts(command=timedelta(seconds=60))
ASKING = Asking(SecretsPolicy.COLLECT, None)
MIB = 1024 * 1024
SIZE = 16 * MIB - 1024  # just below what is accepted
HEAD = b"# 2026-01-02 03:04:05 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n#\r\n/ip firewall filter\r\n"
ITEM = b'add action=accept chain=forward comment="rule %d of many" dst-address=10.%d.%d.0/24 out-interface=ether%d\r\n'
BOMB = "bomb"  # grows beyond what is accepted


def _realistic(size: int) -> bytes:
    lines = [ITEM % (n, n // 250 % 250, n % 250, n % 10) for n in range(size // 90)]
    menus = [b"/ip firewall filter\r\n", b"/ip route\r\n", b"/queue simple\r\n"]
    return b"".join(menus[n // 5000 % 3] + line if n % 5000 == 0 else line for n, line in enumerate(lines))


def _filled(piece: bytes) -> Callable[[int], bytes]:
    return lambda size: piece * (size // len(piece))


TEXTS: dict[str, Callable[[int], bytes]] = {
    "one line": lambda size: b"add name=" + b"a" * size,
    "only \\": _filled(b"\\"),
    "only quotes": _filled(b'"'),
    "10^6 sections": lambda size: b"".join(b"/ip s%d\r\nadd\r\n" % n for n in range(size // 17)),
    "10^6 device comments": _filled(b"# port down\r\nadd\r\n"),
    "deep nesting": _filled(b"add a=([{"),
    "NUL": _filled(b"\0"),
    "ESC": _filled(b"\x1b[2J"),
    "bidi": _filled("\u202e".encode()),
    "realistic": _realistic,
}


def text(name: str) -> bytes:
    """A bad text with a good beginning and end, within what is accepted."""
    bad = TEXTS[name](SIZE - len(HEAD))[: SIZE - len(HEAD)]
    whole_lines = bad[: bad.rfind(b"\r\n")] if b"\r\n" in bad else bad
    return HEAD + whole_lines + b"\r\n"


# --- the routers, in a process of their own --------------------------------------------------------------------------


def simulate(kind: str, number: int) -> None:
    """Run the routers; each line of stdin is the text that they send from then on."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # a bomb is cut off in mid-send
    behaviour = Behaviour(answer_delay=ANSWERS_AFTER if kind == "healthy" else timedelta())
    specs = [RouterSpec(f"{kind}{n}", size=30_000, behaviour=behaviour) for n in range(number)]
    with Fleet(specs) as fleet:
        known = {name: (fleet[name].port, fleet[name].host_key_type, fleet[name].host_key_blob.hex()) for name in fleet}
        print(json.dumps(known), flush=True)
        for line in sys.stdin:
            name = line.rstrip("\n")
            for router in fleet.values():
                if name == BOMB:
                    router.behave(raw_export=b"", export_size=4 * SIZE)
                else:
                    router.behave(raw_export=text(name), export_size=None)
            print("ready", flush=True)


class Routers:
    """The simulated routers, from the worker's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._known: dict[str, tuple[int, str, str]] = json.loads(self._line())
        self.pid = process.pid

    def send(self, name: str) -> None:
        """Let the bad ones send a text."""
        if self._process.stdin:
            self._process.stdin.write(name + "\n")
            self._process.stdin.flush()
        self._line()

    def target(self, name: str) -> Target:
        """A router with its key pinned."""
        port, key_type, blob = self._known[name]
        timeouts = BAD_TIMEOUTS if name.startswith("bad") else TIMEOUTS
        return Target("127.0.0.1", port, HostKey(key_type, bytes.fromhex(blob)), legacy_ssh=False, timeouts=timeouts)

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""


@contextmanager
def routers(kind: str, number: int) -> Iterator[Routers]:
    """Run them."""
    argv = [sys.executable, "-m", "bench.healthy_beside_bad", "--simulate", kind, str(number)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Routers(process)
        finally:
            process.terminate()


# --- the worker ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """How one collection went; seconds."""

    whole: float
    reading: float
    ended: str
    asked: int = 0  # commands


def collect(target: Target, reader: ProcessReader) -> Session:
    """One session, and the reading of what it brought."""
    began = reading = time.monotonic()
    replies: list[Reply] = []
    driver = drivers.driver("routeros")
    try:
        with SshCollector().session(target, lambda _: None, lambda: Login("backup", "backup")) as session:
            while (command := driver.next_command(ASKING, replies)) is not None:
                replies.append(session.run(command))
        reading = time.monotonic()
        read = reader.read("routeros", ASKING, replies)
        ended = read.reason.value if isinstance(read, Incomplete) else "read"
    except BackupflowError as exc:
        reading = max(reading, began)
        ended = exc.code
    except ReadingDefect as exc:
        ended = f"defect {exc}"
    now = time.monotonic()
    return Session(now - began, now - reading if reading > began else 0.0, ended, len(replies))


class Stall:
    """The longest time for which a thread that wants to run every 5 ms did not."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(0.005):
            now = time.monotonic()
            self.longest = max(self.longest, now - before)
            before = now


def healthy_round(
    pool: ThreadPoolExecutor, fleet: Routers, reader: ProcessReader, goes_on: Callable[[], bool]
) -> list[Session]:
    """Every healthy router at least once, and again as long as it goes on."""

    def again(name: str) -> list[Session]:
        found = [collect(fleet.target(name), reader)]
        while goes_on():
            found.append(collect(fleet.target(name), reader))
        return found

    return [each for found in pool.map(again, [f"healthy{n}" for n in range(HEALTHY)]) for each in found]


def peak_of_children(but: set[int], most: dict[int, int]) -> None:
    """Note the largest resident set that each reading process has had so far, in MiB."""
    for child in psutil.Process().children():
        if child.pid not in but:
            with suppress(OSError):
                status = Path(f"/proc/{child.pid}/status").read_text("ascii")
                peaks = [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")]
                most[child.pid] = max([most.get(child.pid, 0), *peaks])


def measure(fleet: Routers, wrong: Routers, name: str, bad: int, reader: ProcessReader) -> str:
    """One row."""
    wrong.send(name)
    with ThreadPoolExecutor(HEALTHY + 3) as pool:
        alone = healthy_round(pool, fleet, reader, lambda: False)
    peaks: dict[int, int] = {}
    with ThreadPoolExecutor(HEALTHY + 3) as pool, ThreadPoolExecutor(1) as watching, Stall() as stall:
        bads = [pool.submit(collect, wrong.target(f"bad{n}"), reader) for n in range(bad)]

        def goes_on() -> bool:
            return not all(each.done() for each in bads)

        def watch() -> None:
            while goes_on():
                peak_of_children({fleet.pid, wrong.pid}, peaks)
                time.sleep(0.05)

        watched = watching.submit(watch)
        beside = healthy_round(pool, fleet, reader, goes_on)
        watched.result()
    sent = [each.result() for each in bads]
    met = sum(each.ended == "read" and each.whole <= TIMEOUTS.command.total_seconds() for each in beside)
    slowest, before = max(each.whole for each in beside), max(each.whole for each in alone)
    ended = "/".join(sorted({each.ended for each in sent}))
    reading, whole = max(each.reading for each in sent), max(each.whole for each in sent)
    return (
        f"{reading:7.2f} {max(peaks.values(), default=0):5d} {whole:7.1f} {met:4d}/{len(beside):<4d}"
        f" {before:6.2f} {slowest:7.2f} {slowest / before:5.2f} {1000 * stall.longest:6.0f}  {ended}"
    )


def main() -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulate", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--bad", type=int, nargs="*", default=[1, 3], help="bad routers at once")
    parser.add_argument("--only", nargs="*", default=[*TEXTS, BOMB], help="of the texts")
    parser.add_argument("--readers", nargs="*", default=["process", "thread"])
    asked = parser.parse_args()
    if asked.simulate is not None:
        simulate(asked.simulate[0], int(asked.simulate[1]))
        return
    readers = {"process": ProcessReader(), "thread": ProcessReader(replace(AS_SHIPPED, in_thread=sys.maxsize))}
    print(
        f"{HEALTHY} healthy routers, answering after {ANSWERS_AFTER.seconds} s; deadline {TIMEOUTS.command.seconds} s"
    )
    print("text                  bad reader   read s   MiB whole s in time    alone slowest ratio  stall  ended")
    with routers("healthy", HEALTHY) as healthy, routers("bad", max(asked.bad)) as wrong:
        for name in asked.only:
            for bad in asked.bad:
                for kind in asked.readers:
                    row = measure(healthy, wrong, name, bad, readers[kind])
                    print(f"{name:21} {bad:3d} {kind:7} {row}", flush=True)


if __name__ == "__main__":
    main()
