"""Reading in a process of its own: the same result, whatever the text does to that process, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import psutil
import pytest

from backupflow import drivers
from backupflow.adapters.reader import Bounds, ProcessReader
from backupflow.adapters.reader.process import AS_SHIPPED, ROOT, ReadingDefect
from backupflow.core.driver import Asking, Incomplete, Reading, Reply
from backupflow.core.model import SecretsPolicy
from backupflow.errors import BackupflowError, CollectorBusy, InputInvalid, NotAConfiguration
from tests.integration import reading_child
from tests.integration.reading_child import NICE_WHEN_TOLD, NICE_WHILE_READING, Strange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRANGE = Path(reading_child.__file__).resolve()
ASKING = Asking(SecretsPolicy.COLLECT, "/export", "a1b2c3")
IN_PROCESS = replace(AS_SHIPPED, in_thread=0)  # whatever the size
LONG = timedelta(hours=1)  # nothing but a kill ends it
ENDLESS = replace(IN_PROCESS, processor_time=LONG, time=LONG, wait=timedelta(seconds=30))
MIB = 1024 * 1024
REAL = drivers.DRIVERS


@pytest.fixture(autouse=True)
def _strange(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The strange driver in this process too; and no test leaves a child."""
    monkeypatch.setattr(drivers, "DRIVERS", {Strange.name: Strange()})
    yield
    assert children() == []


def replies(first: bytes, *others: bytes) -> list[Reply]:
    """What a session answered."""
    return [Reply(f"/export {n}", text, b"error" * n, n or None) for n, text in enumerate((first, *others))]


def strange(bounds: Bounds = IN_PROCESS) -> ProcessReader:
    """A reader whose process has the strange driver."""
    return ProcessReader(bounds, entry=STRANGE)


def children() -> list[psutil.Process]:
    """The reading processes that this one started and has not buried; the servers of other tests are none."""
    return [process for process in psutil.Process().children(recursive=True) if reads(process)]


def reads(process: psutil.Process) -> bool:
    """Whether it is one that reads for this process, whose number it was given; a dead one may be."""
    try:
        return str(os.getpid()) in process.cmdline()
    except psutil.ZombieProcess:
        return True
    except psutil.NoSuchProcess:
        return False


def child(number: int = 1) -> psutil.Process:
    """The newest of so many children, as soon as there are that many and its driver reads."""
    wait_for(lambda: len(children()) >= number)
    newest = max(children(), key=lambda process: process.create_time())
    wait_for(lambda: newest.nice() == NICE_WHILE_READING)
    return newest


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads to read in; when a test fails, what they wait for is ended, so that it does end."""
    with ThreadPoolExecutor(number) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while any(thread.is_alive() for thread in pool._threads):
                for process in children():
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(0.05)
            raise


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until something is so; the test's own time-out ends it otherwise."""
    while not true():
        time.sleep(0.05)  # each look goes over all processes of the machine


@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB])
@pytest.mark.parametrize("end_mark", [None, "a1b2c3"])
def test_what_a_process_reads_is_what_a_thread_reads(size: int, end_mark: str | None) -> None:
    """Every field, whatever bytes there are, of small and large texts, with one answer or several."""
    said = replies(b"text " + bytes(range(256)) * (size // 256 + 1), b"\xff\r\n")[:: 1 if size % 2 else -1]
    asking = replace(ASKING, end_mark=end_mark)
    read = strange().read("routeros", asking, said)
    assert isinstance(read, Reading)
    assert read == strange(AS_SHIPPED).read("routeros", asking, said) == Strange().read(asking, said)


@pytest.mark.parametrize("items", [1, 40_000])
def test_an_export_is_read_by_its_driver_wherever_that_runs(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that ships, with the driver that ships, as it is used: small here, large there, and both the same."""
    monkeypatch.setattr(drivers, "DRIVERS", REAL)
    item = b'add comment="caf\\E9 %d" name=n%d password=p%d\r\n'
    export = b"# 2026-01-02 03:04:05 by RouterOS 7.14\r\n#\r\n/ppp secret\r\n"
    export += b"".join(item % (n, n, n) for n in range(items)) + b"/system identity\r\nset name=r1\r\n"
    said = [Reply("/export show-sensitive", export, b"", 0)]
    read = ProcessReader().read("routeros", replace(ASKING, end_mark=None), said)
    assert isinstance(read, Reading)
    assert (read.raw, read.facts.identity, read.outline.secrets) == (export, "r1", items)
    assert read == REAL["routeros"].read(replace(ASKING, end_mark=None), said)


def test_what_is_incomplete_is_so_from_a_process_too() -> None:
    """The same value, so the same error for the operator."""
    read = strange().read("routeros", ASKING, replies(b"incomplete"))
    assert isinstance(read, Incomplete)
    assert read == Strange().read(ASKING, replies(b"incomplete"))


@pytest.mark.parametrize(("stdout", "stderr", "processes"), [(500_000, 500_000, 0), (500_000, 500_001, 1)])
def test_only_more_than_a_megabyte_gets_a_process(
    stdout: int, stderr: int, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both streams count, and of all answers together."""
    started = Mock(wraps=subprocess.Popen)
    monkeypatch.setattr(subprocess, "Popen", started)
    read = strange(AS_SHIPPED).read("routeros", ASKING, [Reply("/export", b"x" * stdout, b"x" * stderr, 0)])
    assert isinstance(read, Reading)
    assert started.call_count == processes


def test_an_unknown_driver_is_named_as_such_at_any_size() -> None:
    """As the registry says it."""
    for bounds in (AS_SHIPPED, IN_PROCESS):
        with pytest.raises(InputInvalid, match="no driver 'junos'"):
            ProcessReader(bounds).read("junos", ASKING, replies(b"x"))


LIMITED = """
import resource, sys
sys.path[:0] = sys.argv[1:3]
from tests.integration import test_reader as it
it.drivers.DRIVERS = {"routeros": it.Strange()}
for which, most in ((resource.RLIMIT_AS, 1024 * it.MIB), (resource.RLIMIT_CPU, 300), (resource.RLIMIT_FSIZE, 0)):
    resource.setrlimit(which, (most, most))
print(type(it.strange(it.ENDLESS).read("routeros", it.ASKING, it.replies(b"text"))).__name__)
"""


def test_a_worker_that_may_use_less_still_reads() -> None:
    """Limits that its supervisor has set are kept, and are no reason to refuse every large text."""
    argv = [sys.executable, "-c", LIMITED, str(ROOT), str(STRANGE.parents[2])]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["Reading"]


BESIDE = """
import sys
sys.path[:0] = sys.argv[1:3]
from tests.integration import test_reader as it
it.drivers.DRIVERS = {"routeros": it.Strange()}
reader = it.strange(it.replace(it.ENDLESS, in_thread=1000))
with it.ThreadPoolExecutor(1) as pool:
    large = pool.submit(reader.read, "routeros", it.ASKING, it.replies(b"never_ends " * 1000))
    process = it.child()
    small = [reader.read("routeros", it.ASKING, it.replies(b"small")) for _ in range(1000)]
    print(len(small), large.done())
    process.kill()
    print(type(large.exception()).__name__)
"""


def test_a_large_text_holds_nobody_up() -> None:
    """While one is read that holds its interpreter for ever, another thread reads as many small ones as it likes.

    The large one ends only because it is killed after that: in a thread of the same process it would never let that
    happen (nor let the time-out of this test be noticed, hence the process around it).
    """
    argv = [sys.executable, "-c", BESIDE, str(ROOT), str(STRANGE.parents[2])]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1000", "False", "CollectorBusy"]


def test_a_text_that_takes_too_much_processor_time_is_no_configuration() -> None:
    """The kernel ends it, wherever it hangs."""
    bounds = replace(IN_PROCESS, processor_time=timedelta(seconds=1), time=LONG)
    with pytest.raises(NotAConfiguration, match="more than 1 s of processor time"):
        strange(bounds).read("routeros", ASKING, replies(b"never_ends"))


def test_a_text_that_takes_too_much_memory_is_no_configuration() -> None:
    """And takes none of the worker's."""
    with pytest.raises(NotAConfiguration, match="more than 512 MiB of memory"):
        strange(replace(IN_PROCESS, memory=512 * MIB)).read("routeros", ASKING, replies(b"takes_memory"))


@pytest.mark.parametrize("text", [b"waits", b"falls_silent"])
def test_a_machine_too_busy_to_read_in_time_blames_no_router(text: bytes) -> None:
    """A process that got little of a processor by the clock says nothing about its text; it is ended all the same."""
    with pytest.raises(CollectorBusy, match="too busy"):
        strange(replace(IN_PROCESS, time=timedelta(seconds=1))).read("routeros", ASKING, replies(text))


def test_a_process_that_dies_of_its_text_had_no_configuration() -> None:
    """By a fault of its own."""
    with pytest.raises(NotAConfiguration, match="signal 11"):
        strange(ENDLESS).read("routeros", ASKING, replies(b"crashes"))


def test_a_process_that_is_killed_blames_no_router() -> None:
    """The kernel takes it first where memory is short: the export may be as good as any."""
    with threads(1) as pool:
        reading = pool.submit(strange(ENDLESS).read, "routeros", ASKING, replies(b"waits"))
        child().kill()
        with pytest.raises(CollectorBusy, match="was killed"):
            reading.result()


def test_a_process_reads_on_when_its_group_is_asked_to_stop() -> None:
    """A worker that is asked to finish its work (Ctrl-C, systemd) finishes it; what it waits for must not die."""
    with threads(1) as pool:
        reading = pool.submit(strange(ENDLESS).read, "routeros", ASKING, replies(b"waits_until_told"))
        process = child()
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            process.send_signal(asked)
            time.sleep(0.05)  # what it would die of, it may die of
        process.nice(NICE_WHEN_TOLD)
        assert isinstance(reading.result(), Reading)


def test_a_defect_of_the_driver_is_one_by_its_name_alone() -> None:
    """An exception's words may quote the configuration: neither it nor what it hangs on says a word of it."""
    with pytest.raises(ReadingDefect) as caught:
        strange().read("routeros", ASKING, replies(b"raises the-secret"))
    assert type(caught.value).__name__ == str(caught.value) == "KeyError"
    assert not isinstance(caught.value, BackupflowError)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_process_that_says_too_much_is_cut_off() -> None:
    """Whatever it has become, it cannot fill the worker's memory."""
    with pytest.raises(NotAConfiguration, match=f"has more than {5 * 6 + 2 * MIB} bytes"):
        strange(ENDLESS).read("routeros", ASKING, replies(b"floods"))


def test_a_process_that_says_nonsense_is_a_defect_of_ours() -> None:
    """No router is blamed for it."""
    with pytest.raises(ReadingDefect, match="something else"):
        strange().read("routeros", ASKING, replies(b"babbles"))


def test_a_process_that_does_not_start_is_a_defect_of_ours(tmp_path: Path) -> None:
    """A broken installation makes no export a broken one."""
    broken = tmp_path / "entry.py"
    broken.write_text("import nothing_of_that_name\n")
    with pytest.raises(ReadingDefect, match="did not start"):
        ProcessReader(IN_PROCESS, entry=broken).read("routeros", ASKING, replies(b"x" * 3 * MIB))


def test_a_machine_without_room_for_a_process_blames_no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fork(2) says then is translated; the turn is given back."""
    reader = strange(replace(IN_PROCESS, at_once=1, wait=timedelta()))
    with monkeypatch.context() as patched:
        full = Mock(side_effect=BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
        patched.setattr(subprocess, "Popen", full)
        with pytest.raises(CollectorBusy, match="no room"):
            reader.read("routeros", ASKING, replies(b"x"))
    assert isinstance(reader.read("routeros", ASKING, replies(b"x")), Reading)


def test_no_more_processes_run_at_once_than_may() -> None:
    """The others wait for their turn, and have it."""
    with threads(5) as pool:
        reader = strange(ENDLESS)
        readings = [pool.submit(reader.read, "routeros", ASKING, replies(b"waits")) for _ in range(5)]
        for ended in range(5):
            wait_for(lambda: sum(reading.done() for reading in readings) == ended)  # noqa: B023 - called at once
            process = child(min(2, 5 - ended))
            assert len(children()) <= 2
            process.kill()
        for reading in readings:
            assert isinstance(reading.exception(), CollectorBusy)


def test_who_gets_no_turn_is_told_so_in_time() -> None:
    """It neither waits for ever nor counts against the router."""
    reader = strange(replace(ENDLESS, at_once=1, wait=timedelta(seconds=0.1)))
    with threads(1) as pool:
        first = pool.submit(reader.read, "routeros", ASKING, replies(b"waits"))
        process = child()
        with pytest.raises(CollectorBusy, match="no turn"):
            reader.read("routeros", ASKING, replies(b"text"))
        process.kill()
        assert isinstance(first.exception(), CollectorBusy)
    assert isinstance(reader.read("routeros", ASKING, replies(b"text")), Reading)


def test_the_process_holds_nothing_but_its_pipes_and_no_secret_outside_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and environment are for all to see; a core or a file would outlive it."""
    monkeypatch.setenv("A_PASSWORD", "the-secret")
    read = strange().read("routeros", replace(ASKING, end_mark="the-mark"), replies(b"look the-secret"))
    assert isinstance(read, Reading)
    seen = json.loads(read.command)
    assert seen["environment"].keys() <= {"LD_LIBRARY_PATH", "LC_CTYPE"}  # Python sets the latter for itself
    assert "the-" not in json.dumps(seen)
    assert (seen["core"], seen["files"], seen["dumpable"]) == ([0, 0], [0, 0], 0)
    assert len(seen["descriptors"]) == 4  # 0, 1, 2 and the look at the folder itself


def test_nothing_of_the_working_directory_or_of_python_s_path_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies there under the names of ours and of the library's."""
    for name in ("json.py", "re.py", "sitecustomize.py", "backupflow/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('what lay in the working directory')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    read = strange().read("routeros", ASKING, replies(b"look"))
    assert isinstance(read, Reading)
    seen = json.loads(read.command)
    assert seen["cwd"] == "/"
    assert Path(seen["package"]).is_relative_to(ROOT)
    assert not Path(seen["json"]).is_relative_to(tmp_path)


WORKER = """
import sys, threading
sys.path[:0] = sys.argv[1:3]
from tests.integration import test_reader as it
it.drivers.DRIVERS = {"routeros": it.Strange()}
given = ("routeros", it.ASKING, it.replies(sys.argv[3].encode()))
thread = threading.Thread(target=it.strange(it.ENDLESS).read, args=given)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("text", ["never_ends", "waits", "falls_silent"])
def test_a_worker_that_is_killed_leaves_no_process_behind(text: str) -> None:
    """It reads in a thread of its pool; nothing but its death tells the process, which may be deep in one call."""
    argv = [sys.executable, "-c", WORKER, str(ROOT), str(STRANGE.parents[2]), text]
    with subprocess.Popen(argv) as worker:
        try:
            wait_for(lambda: len(psutil.Process(worker.pid).children()) == 1)
            (process,) = psutil.Process(worker.pid).children()
            wait_for(lambda: process.nice() == NICE_WHILE_READING)
            assert process.is_running()
        finally:
            worker.kill()
    try:
        process.wait(60)
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()


ELSEWHERE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from tests.integration import test_reader as it
it.drivers.DRIVERS = {"routeros": it.Strange()}
read = it.strange().read("routeros", it.ASKING, it.replies(b"look"))
from backupflow.adapters.reader.process import ENTRY
print(json.dumps([it.drivers.__file__, str(ENTRY), read.command]))
"""


def test_a_package_that_lies_elsewhere_reads_with_its_own_code(tmp_path: Path) -> None:
    """As in site-packages: the process runs what its worker runs, not what else is installed."""
    shutil.copytree(ROOT / "backupflow", tmp_path / "backupflow", ignore=shutil.ignore_patterns("__pycache__"))
    argv = [sys.executable, "-c", ELSEWHERE, str(tmp_path), str(STRANGE.parents[2])]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, cwd="/").stdout
    registry, entry, look = json.loads(said)
    package = json.loads(look)["package"]
    assert [Path(path).is_relative_to(tmp_path) for path in (registry, entry, package)] == [True] * 3


LEAVES = {
    b"text": "Reading",
    b"incomplete": "Incomplete",
    b"raises": "KeyError",
    b"crashes": "NotAConfiguration",
    b"floods": "NotAConfiguration",
    b"babbles": "ReadingDefect",
    b"killed": "CollectorBusy",
}


def outcome(reader: ProcessReader, text: bytes) -> str:
    """What becomes of a text: the class of the value, or of what was raised."""
    try:
        return type(reader.read("routeros", ASKING, replies(text))).__name__
    except (BackupflowError, ReadingDefect) as exc:
        return type(exc).__name__


def kept() -> tuple[int, int, int]:
    """Descriptors, threads and children of this process."""
    gc.collect()
    return psutil.Process().num_fds(), threading.active_count(), len(children())


@pytest.mark.timeout(1800)
def test_reading_leaves_no_process_thread_descriptor_or_memory_behind(size: str) -> None:
    """However each reading ended; in a soak a thousand of them."""
    warm, rounds = (20, 143) if size == "soak" else (2, 2)  # each thread's heap first grows to what it needs
    reader = strange(replace(ENDLESS, at_once=4))

    def one(text: bytes) -> str:
        return killed(reader) if text == b"killed" else outcome(reader, text + b" " * MIB)

    def turn() -> None:
        with threads(3) as pool:
            rest = [text for text in LEAVES if text != b"killed"]
            assert dict(zip(rest, map_names(pool, one, rest), strict=True)) | {b"killed": one(b"killed")} == LEAVES

    for _ in range(warm):
        turn()
    before, memory = kept(), psutil.Process().memory_info().rss
    for _ in range(rounds):
        turn()
    assert kept() == before
    assert psutil.Process().memory_info().rss - memory < 32 * MIB


def map_names(pool: ThreadPoolExecutor, one: Callable[[bytes], str], texts: list[bytes]) -> list[str]:
    """Several at once."""
    return list(pool.map(one, texts))


def killed(reader: ProcessReader) -> str:
    """What becomes of a text whose process is killed while it reads."""
    with threads(1) as pool:
        reading = pool.submit(outcome, reader, b"waits " * 100_000)
        child().kill()
        return reading.result()


def test_many_threads_read_at_once_and_each_gets_its_own() -> None:
    """No text is ever given to another's reader."""
    texts = [f"text {n} ".encode() * (n + 1) for n in range(8)]
    with threads(6) as pool:
        found = list(pool.map(lambda text: strange(ENDLESS).read("routeros", ASKING, replies(text)), texts))
    assert Counter(type(read).__name__ for read in found) == {"Reading": 8}
    assert [read.raw for read in found if isinstance(read, Reading)] == texts
    assert os.getpid() not in {process.pid for process in children()}
