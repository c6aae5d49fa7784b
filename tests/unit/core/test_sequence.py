"""Which observations are changes."""

from __future__ import annotations

from backupflow.core.model import ContentHash, Seq
from backupflow.core.sequence import Observation, is_change


def observed(seq: int, content: bytes, version: int = 1) -> Observation:
    """An observation of a content."""
    return Observation(Seq(seq), ContentHash(content), version)


def test_there_and_back_again_is_two_changes() -> None:
    """A, B, A: each is compared with the one just before it, not with all that was ever seen."""
    a, b, again = observed(1, b"a"), observed(2, b"b"), observed(3, b"a")
    assert [is_change(None, a), is_change(a, b), is_change(b, again)] == [True, True, True]


def test_the_same_again_is_no_change() -> None:
    """An unchanged router has one snapshot, however often it is collected."""
    assert is_change(observed(1, b"a"), observed(2, b"a")) is False


def test_across_normalization_versions_nothing_is_decided() -> None:
    """Hashes of two versions say nothing about each other, equal or not."""
    assert is_change(observed(1, b"a", 1), observed(2, b"a", 2)) is None
