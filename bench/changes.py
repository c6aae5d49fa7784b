"""How long it takes to find what changed between two trees, and how much memory: real sizes, and hostile texts.

Each pair is compared in a process of its own, from the normal forms on: read as trees, compared, encoded and decoded,
applied again. Prints CPU seconds of the comparison and of all of it, and the memory beyond the texts.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from backupflow.core import change_codec
from backupflow.core.applying import applied
from backupflow.core.changes import TooManyChanges, changes
from backupflow.core.model import NormalConfig
from backupflow.core.tree import equal
from backupflow.drivers import driver
from bench.alone import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LIMIT: Final = 2.0  # seconds of comparison, for what is real
SIZE: Final = 16 * 1024 * 1024
LIST: Final = "/ip firewall address-list"
FILTER: Final = "/ip firewall filter"
Pair = tuple[bytes, bytes]


def text(path: str, items: Iterable[str]) -> bytes:
    """Write a normal form of one menu, no longer than an export may be."""
    whole = "\n".join(["# by RouterOS 7.14", path, *items, ""]).encode()
    return whole if len(whole) <= SIZE else whole[: whole.rindex(b"\n", 0, SIZE) + 1]


def addresses(count: int, changed: int) -> Pair:
    """An address list of which every so-many-th entry goes, comes or gets another comment."""
    old = [f"add address=10.{n >> 16}.{n >> 8 & 255}.{n & 255} comment=c{n} list=blocked" for n in range(count)]
    new = list[str]()
    for n, item in enumerate(old):
        edits: tuple[list[str], ...] = (
            [],
            [item.replace("comment=c", "comment=d")],
            [item, item.replace("address=10", "address=11")],
        )
        new += [item] if n % changed else edits[n % len(edits)]
    return text(LIST, old), text(LIST, new)


def rules(count: int) -> list[str]:
    """Firewall rules, all different."""
    return [
        f"add action=accept chain=forward comment=r{n} dst-port={n} protocol=tcp src-address=10.0.{n % 256}.0/24"
        for n in range(count)
    ]


def reordered(count: int, moved: int) -> Pair:
    """Rules of which so many stand elsewhere."""
    dice, old = random.Random(1), rules(count)
    new = old.copy()
    for _ in range(moved):
        new.insert(dice.randrange(count - 1), new.pop(dice.randrange(count)))
    return text(FILTER, old), text(FILTER, new)


def shuffled(count: int, kinds: int = 10**9) -> Pair:
    """Rules in no order at all, of so many kinds."""
    old = [rule for n, rule in enumerate(rules(min(count, kinds)) * (count // min(count, kinds) + 1)) if n < count]
    new = old.copy()
    random.Random(2).shuffle(new)
    return text(FILTER, old), text(FILTER, new)


def both(path: str, item: Callable[[int], str], count: int, other: Callable[[int], str]) -> Pair:
    """Two texts of one menu."""
    return text(path, map(item, range(count))), text(path, map(other, range(count)))


def single(item: str) -> Pair:
    """An item that becomes a short one."""
    return text("/x", [item]), text("/x", ["add a=y"])


REAL: Final[dict[str, Callable[[], Pair]]] = {
    "100,000 items, 1 % changed": lambda: addresses(100_000, 100),
    "100,000 items, equal": lambda: (addresses(100_000, 100)[0],) * 2,
    "20,000 rules, 200 moved": lambda: reordered(20_000, 200),
    "20,000 rules, shuffled": lambda: shuffled(20_000),
    "40,000 items, all of them others": lambda: both(
        "/ppp secret", lambda n: f"add name=u{n} password=p{n} service=l2tp", 40_000,
        lambda n: f"add name=v{n} password=q{n} profile=x",
    ),
    "40,000 items, all with one more property": lambda: both(
        "/queue simple", lambda n: f"add max-limit=5M/5M name=q{n} target=10.{n % 250}.0.0", 40_000,
        lambda n: f"add comment=x max-limit=5M/5M name=q{n} target=10.{n % 250}.0.0",
    ),
}  # fmt: skip
HOSTILE: Final[dict[str, Callable[[], Pair]]] = {
    "20,000 rules of 20 kinds, shuffled": lambda: shuffled(20_000, 20),
    "120,000 rules of 2 kinds, shuffled": lambda: shuffled(120_000, 2),
    "120,000 items that share a property": lambda: both(
        FILTER, lambda n: f"add a=b c=d x={n}", 120_000, lambda n: f"add a=b c=d y={n}"
    ),
    "120,000 items that share all but one": lambda: both(
        "/x", lambda n: f"add a=b c=d x={n}", 120_000, lambda n: f"add a=b c=d x={-n - 1}"
    ),
    "60,000 items of one identity": lambda: both(
        "/x", lambda n: f"add name=a x={n} y={n}", 60_000, lambda n: f"add name=a x={n + 1} y={n + 2}"
    ),
    "more changes than are told": lambda: both("/x", lambda n: f"add a={n}", 400_000, lambda n: f"add b={n}"),
    "one item of 16 MiB": lambda: single("add a=" + "x" * (SIZE - 99)),
    "one item of 4,000,000 tokens": lambda: single("add" + " a=b" * 4_000_000),
    "8,000 items of 500 tokens": lambda: both(
        "/x", lambda n: f"add z={n}" + "".join(f" {t}=b" for t in range(400)), 8_000,
        lambda n: f"add z={-n}" + "".join(f" {t}=c" for t in range(400)),
    ),
    "600,000 menus": lambda: (
        b"".join(b"/a%d\nadd x=1\n" % n for n in range(600_000)), b"".join(b"/b%d\nadd x=1\n" % n for n in range(9))
    ),
    "200,000 menus, edited": lambda: (
        b"".join(b"/a%d\nadd x=1\n" % n for n in range(200_000)),
        b"".join(b"/a%d\nadd x=2\n" % n for n in range(200_000)),
    ),
    "a header of 100,000 lines": lambda: (
        b"".join(b"# x%d = 1\n" % n for n in range(100_000)), b"".join(b"# x%d = 2\n" % n for n in range(100_000))
    ),
    "no configuration": lambda: (
        b"# as written: more lines or tokens than a configuration has\n" + b"x\ny\n" * 3_000_000,
        b"# as written: more lines or tokens than a configuration has\n" + b"y\nx\nz\n" * 2_000_000,
    ),
}  # fmt: skip


def measured(pair: Pair) -> tuple[float, float, float, str]:
    """Give CPU seconds of the comparison, of all of it, MiB beyond the texts, and what was found."""
    grammar = driver("routeros").grammar
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    old, new = (grammar.tree(NormalConfig(each)) for each in pair)
    try:
        found = changes(old, new, grammar)
        between = time.process_time()
        encoded = change_codec.encode(found)
        true = equal(applied(old, change_codec.decode(encoded), grammar), new, grammar.is_ordered)
        counted = Counter(change.action.value for change in found)
        said = ", ".join(f"{count} {action}" for action, count in sorted(counted.items())) or "nothing"
        said += f" ({len(encoded) // 1024} KiB)" if true else "  WRONG"
    except TooManyChanges:
        between, said = time.process_time(), "too many"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return between - began, time.process_time() - began, peak - before, said


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names to run")
    asked = parser.parse_args()
    print(f"{'changes between two texts':42} {'found':>6} {'all':>6} {'MiB':>5}")
    for name, make in (REAL | HOSTILE).items():
        if asked.only in name:
            found, whole, memory, said = alone(measured, make())
            late = "  SLOW" if name in REAL and found > LIMIT else ""
            print(f"{name:42} {found:6.2f} {whole:6.2f} {memory:5.0f}  {said}{late}", flush=True)


if __name__ == "__main__":
    main()
