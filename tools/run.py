"""Run the checks or the tests, two or three at a time, and print one line for each.

    python tools/run.py check | test | test-after-check

The last leaves out what the checks have run already. The output of what succeeds is dropped but for its last line, the
output of what fails is shown whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# A small machine has two cores; the slow tests wait more than they compute.
SIDE_BY_SIDE = {"check": 2, "test": 4, "test-after-check": 4}
DEMO = "tests/acceptance/test_demo.py"
OPERATING = tuple(f"tests/acceptance/test_{what}.py" for what in ("pages_followed", "composed", "backup_system"))
STORMS = ("tests/faults/test_chaos.py", "tests/faults/test_networks.py")
PURE = ("tests/unit/core", "tests/unit/drivers")
COMMANDS = "tests/integration/test_cli_*.py"
KINDS = ("integration", "acceptance", "faults", "contract", "unit")
LEDGER = "tests/integration/db"
# The longest first.
LONG = (
    "integration", "faults", "acceptance", "operating", "ledger", "command-a", "command-b", "storm", "demo", "unit",
    "contract",
)  # fmt: skip
# Where small tests put what they write, if it takes so many bytes: on a disk PostgreSQL takes twice the time of a core
# for each copied database, and no test cuts the power.
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
ROOM = 4 * 1024**3
ON_DISK = ("operating tests",)  # a backup of the system into memory is refused
SOURCES = ("backupflow", "tests", "tools", "bench", "celeryconfig.py")


def program(name: str, *arguments: str) -> list[str]:
    """A tool of this virtual environment, as an argument list."""
    return [str(BIN / name), *arguments]


def python(*arguments: str) -> list[str]:
    """This Python, as an argument list."""
    return [sys.executable, *arguments]


def tests(kind: str, *paths: str) -> list[str]:
    """One pytest process; each kind has its own cache, since two run side by side."""
    return python("-m", "pytest", "-q", "--no-header", "-o", f"cache_dir=.pytest_cache/{kind}", *paths)


def checks() -> dict[str, list[str]]:
    """What `make check` runs, the slow ones first."""
    there = [source for source in SOURCES if (ROOT / source).exists()]
    return {
        "mypy": program("mypy", *there),
        "unit tests": tests("unit", "tests/unit", "tests/test_house.py", *(f"--ignore={pure}" for pure in PURE)),
        "core tests": tests("core", *PURE),  # apart: two cores are done with them sooner
        "alembic": python("tools/alembic_check.py"),
        "docs": python("tools/generate_docs.py", "--check"),
        "import-linter": program("lint-imports", "--no-logo"),
        "ruff": program("ruff", "check", "--output-format", "concise", "."),
        "format": program("ruff", "format", "--check", "--output-format", "concise", "."),
    }


def kinds() -> dict[str, list[str]]:
    """What `make test` runs: every kind of test. A kind without a test fails."""
    jobs = {f"{kind} tests": tests(kind, f"tests/{kind}") for kind in KINDS}
    # Apart, since each takes half of its kind's time.
    jobs["acceptance tests"] += [f"--ignore={apart}" for apart in (DEMO, *OPERATING)]
    jobs["operating tests"] = tests("operating", *OPERATING)
    jobs["faults tests"] += [f"--ignore={storm}" for storm in STORMS]
    jobs["integration tests"] += [f"--ignore-glob={COMMANDS}", f"--ignore={LEDGER}"]
    jobs["ledger tests"] = tests("ledger", LEDGER)
    # In two, by their length: they begin when the first long one is done, and in one would end long after the rest.
    by_length = sorted(ROOT.glob(COMMANDS), key=lambda path: (path.stat().st_size, path))
    commands = [str(path.relative_to(ROOT)) for path in by_length]
    jobs |= {f"command-{half} tests": tests(f"command-{half}", *commands[n::2]) for n, half in enumerate("ab")}
    jobs |= {"demo tests": tests("demo", DEMO), "storm tests": tests("storm", *STORMS)}
    return {name: jobs[name] for name in sorted(jobs, key=lambda name: LONG.index(name.split()[0]))}


def kinds_after_checks() -> dict[str, list[str]]:
    """What `make check test` runs after the checks: the unit tests are among those."""
    return {name: job for name, job in kinds().items() if name != "unit tests"}


@contextmanager
def scratch(memory: Path = MEMORY, room: int = ROOM) -> Iterator[str]:
    """A folder for all that the tests write, in memory where there is room for it; nothing of it is left.

    Full sizes lie on the disk: nobody knows how much they write, and once at least it shall be a disk.
    """
    small = os.environ.get("BACKUPFLOW_TEST_SIZE") != "soak"
    fits = small and memory.is_dir() and shutil.disk_usage(memory).free >= room
    runs = fits and not os.statvfs(memory).f_flag & os.ST_NOEXEC  # they write programs, too
    with tempfile.TemporaryDirectory(
        prefix="backupflow-tests-", dir=memory if runs else None, ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o711)  # users whom a test makes, and servers that are nobody, pass through
        yield folder


def run(name: str, command: list[str], folder: str | None) -> tuple[str, int, float, str]:
    """Run one command to its end: its name, exit status, seconds and output."""
    began = time.monotonic()
    # The tests start hundreds of processes: without bytecode on disk each would compile all that it imports anew.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=kept | {"PYTHONUNBUFFERED": "1"} | ({"TMPDIR": folder} if folder else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return name, done.returncode, time.monotonic() - began, done.stdout


def main(wanted: str) -> int:
    """Run what is wanted; 1 if anything failed."""
    began = time.monotonic()
    failed: list[str] = []
    jobs = {"check": checks, "test": kinds, "test-after-check": kinds_after_checks}[wanted]()
    with scratch() as folder, ThreadPoolExecutor(SIDE_BY_SIDE[wanted]) as pool:
        begun = [pool.submit(run, name, command, None if name in ON_DISK else folder) for name, command in jobs.items()]
        for future in as_completed(begun):
            name, status, seconds, output = future.result()
            last = output.strip().splitlines()[-1] if output.strip() else ""
            if status:
                failed.append(name)
                print(f"\n{output.rstrip()}\n")
            print(f"{'FAILED' if status else 'ok':<7}{name:<18}{seconds:6.1f} s  {last[:90]}", flush=True)
    print(f"{'FAILED: ' + ', '.join(failed) if failed else 'all ok'}  ({time.monotonic() - began:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SIDE_BY_SIDE:  # noqa: PLR2004 - one word
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
