"""Fuzz the parsers of hostile input, each in a process of its own: `python -m tools.fuzz --help`."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tools.fuzz.child import REPORT, shrunk, write_seeds
from tools.fuzz.harness import Watch
from tools.fuzz.targets import MODULES, load

ROOT: Final = Path(__file__).resolve().parents[2]
_COVERAGE: Final = re.compile(rb"^#\d+\s+(INITED|DONE)\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_EXECUTED: Final = re.compile(rb"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_ARTIFACTS: Final = ("crash-*", "timeout-*", "oom-*")
_GRACE: Final = 600  # seconds: reading many seeds comes before the time that is asked for
_LAST_WORDS: Final = 2000


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(MODULES)} (all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--extra", type=Path, action="append", default=[], metavar="FOLDER", help="more seeds")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (1)")
    parser.add_argument("--unguided", action="store_true", help="by dice, even if atheris is there")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="work and leave everything there (a scratch folder)"
    )
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="run the one target on this input, and nothing else"
    )
    chosen = parser.parse_args()
    if unknown := set(chosen.targets) - MODULES.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return chosen


def fuzz(name: str, folder: Path, seconds: int, extra: list[Path], *, guided: bool) -> dict[str, Any]:
    """Fuzz one target in a child process; what is known of it afterwards."""
    folder.mkdir(parents=True)
    write_seeds(name, folder, extra)
    began = time.monotonic()
    command = [sys.executable, "-m", "tools.fuzz.child", name, str(folder), str(seconds)]
    with (folder / "log").open("wb") as log:
        ended = subprocess.run(
            [*command, "guided" if guided and load(name).traced else "unguided"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=seconds + _GRACE,
            check=False,
        )
    said = (folder / "log").read_bytes()
    found: dict[str, Any] = {"executions": 0, "failures": {}, "traces": {}, "slowest": "", "slowest_seconds": 0.0}
    if (folder / REPORT).exists():
        found = json.loads((folder / REPORT).read_text())
    failures = {failure: bytes.fromhex(data) for failure, data in found["failures"].items()}
    for pattern in _ARTIFACTS:
        failures |= {f"died ({path.name.partition('-')[0]})": path.read_bytes() for path in folder.glob(pattern)}
    if ended.returncode and not failures:
        found["traces"]["died"] = said[-_LAST_WORDS:].decode(errors="backslashreplace")
        failures["died"] = b""
    if executed := _EXECUTED.search(said):
        found["executions"] = int(executed[1])
    coverage = [tuple(map(int, seen[1:])) for seen in _COVERAGE.findall(said)]
    return found | {"name": name, "seconds": time.monotonic() - began, "coverage": coverage, "failures": failures}


def tell(found: dict[str, Any], folder: Path) -> None:
    """Print one line for a target, and what failed in it, shortened."""
    coverage = " -> ".join("{} edges, {} features, {} inputs".format(*seen) for seen in found["coverage"]) or "unguided"
    print(
        f"{found['name']:<11}{found['executions']:>9} runs {found['seconds']:6.0f} s  {len(found['failures'])} failures"
        f"  slowest {found['slowest_seconds'] * 1000:.1f} ms for {len(found['slowest']) // 2} bytes  {coverage}",
        flush=True,
    )
    for number, (failure, data) in enumerate(shrunk(found["name"], found["failures"]).items()):
        path = folder / f"failure-{number}"
        path.write_bytes(data)
        print(f"  {failure}: {data[:200]!r}{' …' if len(data) > 200 else ''} ({len(data)} bytes: {path})")  # noqa: PLR2004
        print("    " + found["traces"].get(failure, "").strip().replace("\n", "\n    "), flush=True)


def main() -> int:
    """Fuzz what is asked for; 1 if anything failed."""
    chosen = options()
    if chosen.replay:
        return 1 if replay(chosen.targets[0], chosen.replay) else 0
    guided = not chosen.unguided and find_spec("atheris") is not None
    if not guided:
        print("without coverage: inputs are changed by dice alone", flush=True)
    extra = [path for folder in chosen.extra for path in sorted(folder.rglob("*")) if path.is_file()]
    work = chosen.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    failed = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        names = chosen.targets or list(MODULES)
        runs = [pool.submit(fuzz, name, work / name, chosen.seconds, extra, guided=guided) for name in names]
        for run in runs:
            found = run.result()
            tell(found, work / found["name"])
            failed += len(found["failures"])
    print(f"{failed} failures; inputs and logs are in {work}")
    return 1 if failed else 0


def replay(name: str, path: Path) -> str | None:
    """Run one input again, and print how it fails."""
    watch = Watch(load(name))
    failure = watch(path.read_bytes())
    print(watch.findings.traces.get(failure or "", ""), failure or "nothing failed", watch.findings.slowest_seconds)
    return failure


if __name__ == "__main__":
    sys.exit(main())
