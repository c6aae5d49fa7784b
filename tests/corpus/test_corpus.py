"""Real exports: every one is judged and normalized as it should be. Run by `make corpus`; prints none of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from backupflow.core.driver import Complete, Incomplete, Reason, Reply
from backupflow.core.model import RawConfig
from backupflow.drivers import driver

ROOT = Path(os.environ.get("BACKUPFLOW_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
JUDGE = Path(os.environ.get("BACKUPFLOW_NOISE_CHECK") or ROOT.parent / "tools" / "noise_check.py")
ROS = driver("routeros")

# What the corpus holds among its good exports and we refuse: docs/normalizer.md says why.
REFUSED = {
    "export/andre4freelance+juniper-vpls__RO-SITE-B.rsc": Reason.TRUNCATED,
    "seq/alwaldend+src__rsc-devices-router01/3.rsc": Reason.NOT_A_CONFIGURATION,
    **{f"seq/romanborodin1+MikroTik__mikrotik_r1/{n}.rsc": Reason.NOT_A_CONFIGURATION for n in range(1, 6)},
}
NORMALIZER = """
import sys
from backupflow.drivers import driver
sys.stdout.buffer.write(driver("routeros").normalize(sys.stdin.buffer.read()))
"""


def files(folder: str) -> list[Path]:
    """All exports of a folder; none is a broken corpus, not a pass."""
    found = sorted((ROOT / folder).rglob("*.rsc"))
    assert found, f"no exports in the folder {folder} of the corpus"
    return found


def name(path: Path) -> str:
    """How the corpus calls a file."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", ["export", "seq"])
def test_every_good_export_is_complete(folder: str) -> None:
    """But those that are listed here, each with its reason."""
    judged = {name(path): ROS.judge_file(path.read_bytes()) for path in files(folder)}
    refused = {of: said.reason for of, said in judged.items() if isinstance(said, Incomplete)}
    assert refused == {of: why for of, why in REFUSED.items() if of.startswith(folder)}
    # Where a header stands, the version is read from it.
    assert all(said.facts.version for said in judged.values() if isinstance(said, Complete))


def test_no_broken_export_is_complete() -> None:
    """Truncated, interrupted, with conflicts, captured from a terminal."""
    judged = {name(path): ROS.judge_file(path.read_bytes()) for path in files("broken")}
    assert [of for of, said in judged.items() if isinstance(said, Complete)] == []


def test_no_export_cut_inside_a_line_is_complete() -> None:
    """Fifty cuts of each good export, at places that a seed chooses."""
    dice = random.Random(20250610)
    accepted: list[tuple[str, int]] = []
    for path in files("export"):
        raw = path.read_bytes()
        for at in (dice.randrange(1, len(raw)) for _ in range(50)):
            cut = raw[:at]
            if not cut.endswith(b"\n") and isinstance(ROS.judge(Reply("/export", cut, b"", 0)), Complete):
                accepted.append((name(path), at))
    assert accepted == []


def test_every_normal_form_is_its_own() -> None:
    """Also those of broken exports; printable, and an item count that normalizing twice keeps."""
    for path in [*files("export"), *files("broken"), *files("seq")]:
        once = ROS.normalize(RawConfig(path.read_bytes()))
        assert ROS.normalize(RawConfig(once)) == once, name(path)
        assert once.replace(b"\n", b"").decode("ascii").isprintable(), name(path)


def test_a_complete_export_stays_complete_when_normalized() -> None:
    """The normal form is itself an export."""
    for path in files("export"):
        raw = path.read_bytes()
        if isinstance(ROS.judge_file(raw), Complete):
            assert isinstance(ROS.judge_file(ROS.normalize(RawConfig(raw))), Complete), name(path)


def test_neighbours_of_a_sequence_are_told_apart_or_not() -> None:
    """A check of the check below: among real neighbours there are equal ones and different ones."""
    equal = different = 0
    for folder in sorted((ROOT / "seq").iterdir()):
        texts = [path.read_bytes() for path in sorted(folder.glob("*.rsc"), key=lambda path: int(path.stem))]
        for one, other in pairwise(texts):
            same = ROS.normalize(RawConfig(one)) == ROS.normalize(RawConfig(other))
            equal, different = equal + same, different + (not same)
    assert equal > 0
    assert different > 0


def judged(sequence: str) -> tuple[int, list[bytes]]:
    """Let the judge look at one sequence: its exit status, and its last line, which counts what it found."""
    # Without site-packages a normalizer starts in half the time, and there are a thousand of them.
    normalizer = [sys.executable, "-S", "-c", NORMALIZER]
    options = ["--idempotent", "--synthetic", "3", "--strict", "--show", "0"]
    ended = subprocess.run(
        [sys.executable, str(JUDGE), "--seq", str(ROOT / "seq"), "--only", sequence, *options, "--", *normalizer],
        stdout=subprocess.PIPE,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    return ended.returncode, ended.stdout.splitlines()[-1:]


@pytest.mark.timeout(600)
def test_an_independent_judge_finds_nothing() -> None:
    """No false change, no lost change, no leak and no lost detail over every neighbouring pair and synthetic edits."""
    sequences = sorted(folder.name for folder in (ROOT / "seq").iterdir())
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(sequences, pool.map(judged, sequences), strict=True))
    assert found == dict.fromkeys(sequences, (0, [b"failures=0 warnings=0"]))
