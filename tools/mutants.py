"""Break each promise in the code, one place at a time, and see its test fail: `python tools/mutants.py [I4 …]`.

The mutants are in mutants.toml: each names the promise, what is done to the code, and the tests that must fail then.
They are applied to copies of the tree in a temporary folder, and the named tests run there with this Python: first
without any mutant, since a test that fails by itself kills nothing. A test that cannot even begin kills nothing either.
Exits with 1 if one survived or did not apply.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
TABLE: Final = ROOT / "tools" / "mutants.toml"
_NOT_COPIED: Final = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "build", "dist")
_OF_THE_RUN: Final = ("PYTEST_", "CONFIG_", "BACKUPFLOW_", "CELERY_")
_AT_MOST: Final = 900  # seconds for the tests of one mutant
_TESTS_FAILED: Final = 1  # pytest's exit status


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a file: a text that occurs in it exactly once, and what takes its place."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """What breaks which promise, and the tests that must see it."""

    promise: str
    what: str
    tests: tuple[str, ...]
    edits: tuple[Edit, ...]

    def applied(self, root: Path) -> dict[Path, str]:
        """The files as they become; ValueError if it does not apply."""
        changed: dict[Path, str] = {}
        for edit in self.edits:
            path = root / edit.file
            text = changed.get(path) or path.read_text(encoding="utf-8")
            if (count := text.count(edit.old)) != 1:
                raise ValueError(f"the text occurs {count} times in {edit.file}: {edit.old!r}")
            changed[path] = text.replace(edit.old, edit.new)
        return changed


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mutant: `killed`, or why not."""

    mutant: Mutant
    verdict: str
    seconds: float
    says: str = ""  # the end of the output, if it is of interest


def read_table(path: Path = TABLE) -> list[Mutant]:
    """The mutants in the order in which they are written; an `edit` of its own a place, or one in the mutant itself."""
    return [_mutant(one) for one in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]


def _mutant(given: dict[str, Any]) -> Mutant:
    places = given.get("edit") or [{name: given[name] for name in ("file", "old", "new")}]
    return Mutant(given["promise"], given["what"], tuple(given["tests"]), tuple(Edit(**place) for place in places))


def copy_tree(target: Path) -> None:
    """The tree as it lies here, without what is made from it."""
    shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def run_tests(copy: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """pytest's exit status and output. No bytecode is kept: a mutant may be as long and as old as its original."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_RUN)}
    environment = kept | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rfE", "--no-header", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_AT_MOST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, f"the tests did not end within {_AT_MOST} s"
    return done.returncode, done.stdout


def try_out(copy: Path, mutant: Mutant) -> Fate:
    """Apply it, run its tests, take it back."""
    began = time.monotonic()
    try:
        changed = mutant.applied(copy)
    except (ValueError, OSError) as exc:
        return Fate(mutant, "DOES NOT APPLY", 0, str(exc))
    try:
        for path, text in changed.items():
            shutil.copy2(path, f"{path}.before")
            path.write_text(text, encoding="utf-8")
        status, output = run_tests(copy, mutant.tests)
    finally:
        for path in changed:
            Path(f"{path}.before").replace(path)
    failed = any(line.startswith("FAILED ") for line in output.splitlines())
    verdict = "killed" if status == _TESTS_FAILED and failed else "DID NOT RUN" if status else "SURVIVED"
    return Fate(mutant, verdict, time.monotonic() - began, "" if verdict == "killed" else output[-1500:])


def hunt(mutants: list[Mutant], jobs: int) -> list[Fate]:
    """Try out each in one of some copies, and tell of each when it is known."""
    with tempfile.TemporaryDirectory(prefix="backupflow-mutants-") as scratch:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        Path(scratch).chmod(0o755)  # servers that run as another user have to find their way
        for number in range(jobs):
            copy_tree(Path(scratch) / str(number) / "tree")
            copies.put(Path(scratch) / str(number) / "tree")
        tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        status, output = run_tests(Path(scratch) / "0" / "tree", tests)
        if status:
            print(output[-6000:])
            raise SystemExit("the tests fail without a mutant: nothing can be said")
        print(f"{len(tests)} tests pass without a mutant", flush=True)

        def one(mutant: Mutant) -> Fate:
            copy = copies.get()
            try:
                fate = try_out(copy, mutant)
            finally:
                copies.put(copy)
            print(f"{mutant.promise:<4}{fate.verdict:<15}{fate.seconds:6.1f} s  {mutant.what}", flush=True)
            return fate

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, mutants))


def report(fates: list[Fate]) -> int:
    """What survived, with the end of what its tests said, and how many of each promise were killed; the exit status."""
    left = [fate for fate in fates if fate.verdict != "killed"]
    for fate in left:
        print(f"\n{fate.mutant.promise} {fate.verdict}: {fate.mutant.what}\n{' '.join(fate.mutant.tests)}\n{fate.says}")
    killed = Counter(fate.mutant.promise for fate in fates if fate.verdict == "killed")
    counts = ", ".join(
        f"{promise} {count}" for promise, count in sorted(killed.items(), key=lambda one: int(one[0][1:]))
    )
    print(f"\n{sum(killed.values())} of {len(fates)} mutants were killed: {counts}")
    return 1 if left else 0


def main() -> int:
    """Hunt the mutants of the given promises, or all."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the copies go, whoever ends it
    parser = argparse.ArgumentParser(prog="python tools/mutants.py", description=__doc__)
    parser.add_argument("promises", nargs="*", metavar="PROMISE", help="I1 … I16 (all)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    parser.add_argument("--what", default="", help="only those whose description holds this")
    given = parser.parse_args()
    table = read_table()
    if unknown := set(given.promises) - {mutant.promise for mutant in table}:
        parser.error(f"no mutant of {', '.join(sorted(unknown))}")
    chosen = [one for one in table if one.promise in (given.promises or [one.promise]) and given.what in one.what]
    if not chosen:
        parser.error(f"no mutant with {given.what!r}")
    return report(hunt(chosen, given.jobs))


if __name__ == "__main__":
    sys.exit(main())
