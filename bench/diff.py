"""How long a diff takes, and how much memory: what operators do, and what is made to be hard.

Each pair of texts is compared in a process of its own; the memory is its peak, with the texts and the interpreter.
"""

from __future__ import annotations

import argparse
import random
import resource
import time
from typing import TYPE_CHECKING, Final

from backupflow.core.diff import applied, diff, encode
from backupflow.core.diff_view import unified, unmasked
from backupflow.core.model import NormalConfig
from bench.alone import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Texts = tuple[NormalConfig, NormalConfig]

SEED: Final = 7
HEADER: Final = ("# by RouterOS 7.14", "# software id = ABCD-EFGH")


def text(lines: Iterable[str], menu: str = "/ip firewall address-list") -> NormalConfig:
    """One section with these items."""
    return NormalConfig("".join(f"{line}\n" for line in (*HEADER, menu, *lines)).encode())


def addresses(count: int, start: int = 0) -> list[str]:
    """Items of an address list, all different."""
    few = (number + start for number in range(count))
    return [f"add address=10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255} comment=host-{n} list=hosts" for n in few]


def edited(lines: list[str], dice: random.Random, share: float) -> list[str]:
    """The same with so many edited, removed or added, a third each."""
    new = list(lines)
    for at in sorted(dice.sample(range(len(lines)), round(len(lines) * share)), reverse=True):
        kind = dice.randrange(3)
        new[at : at + 1] = [[new[at] + " disabled=yes"], [], [new[at], f"{new[at]} x={at}"]][kind]
    return new


def _list(dice: random.Random) -> Texts:
    lines = addresses(100_000)
    return text(lines), text(edited(lines, dice, 0.01))


def _unrelated(_dice: random.Random) -> Texts:
    return text(addresses(40_000)), text(addresses(40_000, start=1_000_000), menu="/queue simple")


def _unrelated_few(dice: random.Random) -> Texts:
    kinds = [f"add action=accept chain=forward dst-port={port}" for port in range(500)]
    return text(dice.choices(kinds, k=40_000)), text(dice.choices(kinds, k=40_000))


def _cyclic(dice: random.Random) -> Texts:
    lines = [f"add action=drop dst-port={at % 100}" for at in range(100_000)]
    return text(lines), text(edited(lines, dice, 0.01))


def _cyclic_shifted(_dice: random.Random) -> Texts:
    lines = [f"add action=drop dst-port={at % 100}" for at in range(40_000)]
    return text(lines), text(lines[50:] + lines[:20])


def _shuffled(dice: random.Random) -> Texts:
    lines = addresses(100_000)
    return text(lines), text(dice.sample(lines, len(lines)))


def _shuffled_twice(dice: random.Random) -> Texts:
    lines = addresses(20_000) * 2
    return text(lines), text(dice.sample(lines, len(lines)))


def _one_line(_dice: random.Random) -> Texts:
    lines = addresses(100_000)
    return text(lines), text([*lines[:50_000], lines[50_000] + " disabled=yes", *lines[50_001:]])


def _one_kind(_dice: random.Random) -> Texts:
    return text(["add"] * 2_000_000), text(["add"] * 1_999_000)


PAIRS: Final[dict[str, Callable[[random.Random], Texts]]] = {
    "100,000 addresses, 1 % changed": _list,
    "100,000 addresses, one line edited": _one_line,
    "100,000 addresses, shuffled": _shuffled,
    "unrelated, 40,000 lines each": _unrelated,
    "unrelated, 40,000 lines of 500 kinds each": _unrelated_few,
    "cyclic, 100,000 lines of 100 kinds, 1 % changed": _cyclic,
    "cyclic, 40,000 lines of 100 kinds, shifted": _cyclic_shifted,
    "40,000 lines, each twice, shuffled": _shuffled_twice,
    "2,000,000 lines of one kind, 1,000 fewer": _one_kind,
}


def main() -> None:
    """Compare every pair, and print a table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{'pair of texts':<50}{'diff s':>8}{'all s':>8}{'peak MB':>9}{'added':>9}{'removed':>9}  exact")
    for name in PAIRS:
        took, whole, peak, added, removed, coarse = alone(_compare, name)
        print(f"{name:<50}{took:>8.2f}{whole:>8.2f}{peak:>9.0f}{added:>9}{removed:>9}  {'no' if coarse else 'yes'}")


def _compare(name: str) -> tuple[float, float, float, int, int, str]:
    """`all`: with writing it down, showing it and applying it, which must give the new text."""
    old, new = PAIRS[name](random.Random(SEED))
    began = time.process_time()
    change = diff(old, new)
    took = time.process_time() - began
    encode(change)
    for _ in unified(change, unmasked):
        pass
    if applied(old, change) != new:
        raise AssertionError(name)
    whole = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return took, whole, peak, change.added, change.removed, change.coarse


if __name__ == "__main__":
    main()
