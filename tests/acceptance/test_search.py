"""The search itself: a test that finds nothing says something only if it would have found it."""

from __future__ import annotations

import base64
import gzip
import os
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.search import UNNAMED, Hit, Markers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda text: text,
    "base64": base64.b64encode,
    "base64 for addresses": base64.urlsafe_b64encode,
    "hex": lambda text: text.hex().encode(),
    "upper-case hex": lambda text: text.hex().upper().encode(),
    "UTF-16, little-endian": lambda text: text.decode().encode("utf-16-le"),
    "UTF-16, big-endian": lambda text: text.decode().encode("utf-16-be"),
    "zlib": lambda text: zlib.compress(text * 3),
    "zlib, fast": lambda text: zlib.compress(text * 3, 1),
    "zlib, best": lambda text: zlib.compress(text * 3, 9),
    "gzip": gzip.compress,
    "zlib, cut off": lambda text: zlib.compress(text + random.Random(1).randbytes(2000))[:500],
    "base64 of zlib": lambda text: base64.b64encode(zlib.compress(text)),
    "base64 of zlib behind letters": lambda text: b"abc" + base64.b64encode(zlib.compress(text)),
    "hex of zlib": lambda text: zlib.compress(text).hex().encode(),
    "zlib of base64 of zlib": lambda text: zlib.compress(base64.b64encode(zlib.compress(text))),
    "base64 of base64": lambda text: base64.b64encode(base64.b64encode(text)),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("before", range(4))
def test_a_marker_is_found_and_named_in_every_disguise(disguise: str, before: int) -> None:
    """Whatever stands beside it, and so in each of the three alignments of base64."""
    markers = Markers()
    one, _ = markers.make("one").encode(), markers.make("another")
    noise = random.Random(before)
    inside = noise.randbytes(50) + DISGUISES[disguise](b"#" * before + one + b"#" * before) + noise.randbytes(50)
    assert {hit.marker for hit in markers.finder().in_bytes("here", inside)} == {"one"}


def test_nothing_is_found_where_nothing_is() -> None:
    """Neither in noise nor in the markers of somebody else."""
    markers, other = Markers(), Markers()
    markers.make("one")
    data = os.urandom(1_000_000) + other.make("one").encode() + base64.b64encode(os.urandom(1000))
    assert markers.finder().in_bytes("here", data) == set()


def test_a_part_of_a_marker_is_found() -> None:
    """What was cut off behind the stem has no name, and is found all the same."""
    markers = Markers()
    part = markers.make("one").encode()[:18]
    assert markers.finder().in_bytes("here", b"quoted: " + part + b"...") == {Hit("here", UNNAMED, "raw")}


def test_a_secret_of_somebody_else_is_found() -> None:
    """Of any bytes, such as those of a private key."""
    markers, key = Markers(), bytes(range(200, 232))
    markers.add("key", key)
    finder = markers.finder()
    for data in (key, base64.b64encode(b"-" + key), base64.urlsafe_b64encode(b"--" + key), key.hex().encode()):
        assert {hit.marker for hit in finder.in_bytes("here", data)} == {"key"}


def test_files_and_their_names_are_searched_below_a_folder(tmp_path: Path) -> None:
    """All but what is to be skipped; a hit says which file."""
    markers = Markers()
    inside, named = markers.make("inside"), markers.make("named")
    for folder in ("a", "b", "skipped"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "log").write_text(f"password={inside}")
    (tmp_path / "b" / f"router-{named}.rsc").touch()
    (tmp_path / "skipped" / "log").write_text(inside)
    hits = markers.finder().in_tree(tmp_path, skip={tmp_path / "skipped"})
    assert {hit.marker for hit in hits} == {"inside", "named"}
    assert {hit.where for hit in hits} == {"a/log", f"b/router-{named}.rsc"}
