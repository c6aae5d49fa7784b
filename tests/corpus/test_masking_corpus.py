"""Real exports: none of the secrets that can be counted in them is left when they are masked. Prints none of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from backupflow.core.model import NormalConfig, RawConfig
from backupflow.core.redact import MASK
from backupflow.drivers.routeros.outline import outline
from tests.corpus.test_corpus import REFUSED, ROS, count, files, name

if TYPE_CHECKING:
    import pytest

_LONG_ENOUGH = 8  # characters: shorter secrets are words that stand elsewhere with another meaning


def test_no_counted_secret_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """An outline, which counts secrets in its own way, counts none in a masked text, line for line the same else."""
    found: Counter[str] = Counter()
    for path in (*files("export"), *files("seq")):
        normal = ROS.normalize(RawConfig(path.read_bytes()))
        masked = ROS.grammar.masked(normal)
        bare = masked.replace(f"={MASK}", '=""').replace(MASK, "x")
        found["secrets"] += outline(normal).secrets
        found["left"] += outline(NormalConfig(bare.encode("ascii"))).secrets
        for line, seen in zip(normal.decode().split("\n"), masked.split("\n"), strict=True):
            found["lines"] += 1
            found["masked lines"] += line != seen
            found["whole lines"] += seen == MASK and name(path) not in REFUSED  # captures of a terminal and such
        values = {value for value in _values(normal) if len(value) >= _LONG_ENOUGH}
        found["seen elsewhere"] += sum(value in masked for value in values)
    count(capsys, f"masking: {dict(found)}")
    assert found["secrets"] > 200  # a corpus without secrets shows nothing
    assert found["left"] == found["whole lines"] == 0


def _values(normal: NormalConfig) -> set[str]:
    """The values of the properties that hold secrets, as they are spelled, without quotes."""
    grammar = ROS.grammar
    return {
        value.strip('"')
        for menu, items in grammar.tree(normal).items()
        for item in items
        for name, value in grammar.parsed(menu, item).properties.items()
        if grammar.is_secret(menu, name)
    }
