"""One target in a process of its own: guided by coverage if atheris is there, else by dice. Writes report.json.

python -m tools.fuzz.child TARGET FOLDER SECONDS guided|unguided
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.fuzz import mutation
from tools.fuzz.harness import HANG, Watch, shrink
from tools.fuzz.targets import load

if TYPE_CHECKING:
    from collections.abc import Iterator

REPORT: Final = "report.json"
_TRACED: Final = ["backupflow", "paramiko"]
_SLOWDOWN: Final = 8.0  # measured: traced code takes some three to six times as long
_SAVED_EVERY: Final = 1.0  # seconds: libFuzzer ends the process without a word to Python
_MEMORY_MB: Final = 1024
_NET_SECONDS: Final = 60  # of an input, below all that the harness itself sees: a wait, or a loop in C
_LIBFUZZERS_SHARE: Final = 0.5  # of the changes


def guided(name: str, folder: Path, seconds: int) -> None:
    """Fuzz until the time is over; libFuzzer ends the process."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=_TRACED):
        target = load(name)
    watch = Watch(target, slowdown=_SLOWDOWN)
    saved = time.monotonic()

    def one(data: bytes) -> None:
        nonlocal saved
        failed = watch(data)
        if failed or time.monotonic() - saved > _SAVED_EVERY:
            save(watch, folder)
            saved = time.monotonic()
        if failed == HANG:
            os._exit(1)  # a thread may be left that computes for ever

    def changed(data: bytes, size: int, seed: int) -> bytes:
        """Change an input as libFuzzer does, or as only somebody would who knows the grammar."""
        dice = random.Random(seed)
        if dice.random() < _LIBFUZZERS_SHARE:
            return bytes(atheris.Mutate(data, size))
        return mutation.mutated(data, target.seeds, target, dice)[:size]

    options = {
        "max_total_time": seconds,
        "timeout": _NET_SECONDS,
        "rss_limit_mb": _MEMORY_MB,
        "max_len": target.longest,
        "dict": folder / "tokens.dict",
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/",
        "reload": 0,
    }
    (folder / "tokens.dict").write_text("".join(f'"{_quoted(token)}"\n' for token in target.tokens))
    (folder / "found").mkdir(exist_ok=True)
    arguments = [f"-{key}={value}" for key, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, f"{folder}/found", f"{folder}/seeds"], one, custom_mutator=changed)
    gc.freeze()
    atheris.Fuzz()


def unguided(name: str, folder: Path, seconds: int) -> None:
    """Change seeds by dice until the time is over."""
    watch = Watch(load(name))
    ends = time.monotonic() + seconds
    seeds = tuple(path.read_bytes() for path in sorted((folder / "seeds").iterdir()))
    try:
        mutation.run(watch, random.Random(), lambda _: time.monotonic() < ends, seeds)
    finally:
        save(watch, folder)


def write_seeds(name: str, folder: Path, extra: list[Path]) -> None:
    """Write a target's seeds as files, those of extra folders as far as an input may be long."""
    target = load(name)
    (folder / "seeds").mkdir(parents=True)
    more = [target.wrap(piece) for path in extra for piece in _pieces(path.read_bytes(), target.longest)]
    for number, seed in enumerate((*target.seeds, *more)):
        (folder / "seeds" / f"{number:05}").write_bytes(seed[: target.longest])


def _pieces(text: bytes, longest: int) -> Iterator[bytes]:
    """Take the beginning of a long text, and whole lines out of its midst."""
    yield text[:longest]
    for at in (len(text) // 3, len(text) // 3 * 2) if len(text) > longest else ():
        begins = text.find(b"\n", at) + 1
        yield text[begins : begins + longest]


def save(watch: Watch, folder: Path) -> None:
    """Write the report so that no reader sees half of it."""
    (folder / "report.tmp").write_text(json.dumps(watch.findings.as_json()))
    (folder / "report.tmp").replace(folder / REPORT)


def _quoted(token: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in token)


def shrunk(name: str, failures: dict[str, bytes]) -> dict[str, bytes]:
    """Shorten what failed, without tracing; what hangs stays as it is."""
    smaller = {}
    for failure, data in failures.items():
        watch = Watch(load(name))
        again = failure != HANG and watch(data) == failure
        smaller[failure] = shrink(watch, data, failure) if again else data
    return smaller


if __name__ == "__main__":
    {"guided": guided, "unguided": unguided}[sys.argv[4]](sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
