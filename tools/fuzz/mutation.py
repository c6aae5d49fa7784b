"""Changes inputs by dice: what is left where no coverage can be measured, and for a short look at a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.fuzz.harness import HANG

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tools.fuzz.harness import Target, Watch

_MOST_CHANGES = 6
_MOST_COPIES = 40


def run(watch: Watch, dice: Random, goes_on: Callable[[int], bool], seeds: tuple[bytes, ...] = ()) -> None:
    """Run every seed, then changed ones, as long as `goes_on` says so of the number of executions."""
    pool = (*watch.target.seeds, *(watch.target.wrap(seed) for seed in seeds)) or (b"",)
    for seed in pool:
        if not goes_on(watch.findings.executions):
            return
        watch(seed[: watch.target.longest])
    while goes_on(watch.findings.executions):
        if watch(mutated(dice.choice(pool), pool, watch.target, dice)) == HANG:
            return  # a thread may be left that computes for ever


def mutated(data: bytes, pool: tuple[bytes, ...], target: Target, dice: Random) -> bytes:
    """Change an input in one to six places."""
    for _ in range(dice.randint(1, _MOST_CHANGES)):
        at, to = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        other = dice.choice(pool)
        cut = dice.randint(0, len(other))
        data = dice.choice(
            (
                lambda at=at, data=data: data[:at] + dice.randbytes(dice.randint(1, 4)) + data[at + 1 :],
                lambda at=at, data=data: data[:at] + dice.choice(target.tokens or (b"\0",)) + data[at:],
                lambda at=at, to=to, data=data: data[:at] + data[to:],
                lambda at=at, to=to, data=data: data[:at] + data[at:to] * dice.randint(2, _MOST_COPIES) + data[to:],
                lambda at=at, data=data, other=other, cut=cut: data[:at] + other[cut:],
                lambda at=at, data=data: data[:at],
            )
        )()[: target.longest]
    return data
