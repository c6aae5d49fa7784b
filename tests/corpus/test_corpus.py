"""Real exports: every one is judged and normalized as it should be. Run by `make corpus`; prints none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from backupflow.core.driver import Complete, Incomplete, Reading, Reason
from backupflow.core.model import RawConfig
from backupflow.core.suspicion import Accepted, Known
from backupflow.core.suspicion import judge as suspect
from backupflow.drivers import driver
from tests.unit.drivers.routeros.streams import read, seen

ROOT = Path(os.environ.get("BACKUPFLOW_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")
JUDGE = Path(os.environ.get("BACKUPFLOW_NOISE_CHECK") or ROOT.parent / "tools" / "noise_check.py")
ROS = driver("routeros")

# What the corpus holds among its good exports and we refuse: docs/completeness.md says why.
REFUSED = {
    "export/andre4freelance+juniper-vpls__RO-SITE-B.rsc": Reason.TRUNCATED,
    "seq/alwaldend+src__rsc-devices-router01/3.rsc": Reason.NOT_A_CONFIGURATION,
    **{f"seq/romanborodin1+MikroTik__mikrotik_r1/{n}.rsc": Reason.NOT_A_CONFIGURATION for n in range(1, 6)},
}
# Why each of the broken ones is refused.
_BACKUPS = "Defm+mikrobackups__"
BROKEN = {
    f"broken/01_{_BACKUPS}rawconf_mikrouter_6.45beta62.rsc": Reason.TRUNCATED,
    f"broken/03_{_BACKUPS}rawconf_anna_latest.rsc": Reason.TRUNCATED,
    f"broken/05_{_BACKUPS}rawconf_anna_latest.rsc": Reason.TRUNCATED,
    f"broken/07_{_BACKUPS}rawconf_anna_latest.rsc": Reason.TRUNCATED,
    f"broken/09_{_BACKUPS}.sftpgo-upload.d49npga8vbds73d71o8g.rawconf_anna_latest.rsc": Reason.TRUNCATED,
    f"broken/11_{_BACKUPS}.sftpgo-upload.d50q2g28vbds73d71q50.rawconf_anna_latest.rsc": Reason.TRUNCATED,
    f"broken/13_{_BACKUPS}.sftpgo-upload.d57d0g28vbds73d71qbg.rawconf_anna_latest.rsc": Reason.TRUNCATED,
    "broken/15_FoxDenHome+router__router-backup.rsc": Reason.NOT_A_CONFIGURATION,  # conflict markers, half a comment
    "broken/17_romanborodin1+MikroTik__mikrotik_sw2.txt.rsc": Reason.NOT_A_CONFIGURATION,  # prompts
    "broken/byid_23724716852.rsc": Reason.INTERRUPTED,
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


def count(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Say a figure where whoever runs the corpus sees it."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


@pytest.mark.parametrize("folder", ["export", "seq"])
def test_every_good_export_is_complete(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    """But those that are listed here, each with its reason."""
    judged = {name(path): ROS.judge_file(path.read_bytes()) for path in files(folder)}
    refused = {of: said.reason for of, said in judged.items() if isinstance(said, Incomplete)}
    assert refused == {of: why for of, why in REFUSED.items() if of.startswith(folder)}
    # Where a header stands, the version is read from it.
    assert all(said.facts.version for said in judged.values() if isinstance(said, Complete))
    count(capsys, f"{folder}: {len(judged) - len(refused)} of {len(judged)} complete, {len(refused)} refused as listed")


def test_no_broken_export_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """Truncated, interrupted, with conflicts, captured from a terminal: each has its reason."""
    judged = {name(path): ROS.judge_file(path.read_bytes()) for path in files("broken")}
    assert {of: said.reason for of, said in judged.items() if isinstance(said, Incomplete)} == BROKEN
    assert set(judged) == set(BROKEN)
    reasons = Counter(str(why) for why in BROKEN.values())
    count(capsys, f"broken: {len(judged)} of {len(judged)} refused: {dict(reasons)}")


def test_what_finds_an_export_that_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """At each 1 % and the line end before it: a cut inside a line never passes, one at a line end only with a mark."""
    found: Counter[str] = Counter()
    for path in files("export"):
        raw = path.read_bytes().rstrip() + b"\n"
        whole = read(raw)
        if isinstance(whole, Incomplete):
            continue
        inside = {len(raw) * percent // 100 for percent in range(1, 100)}
        for at in inside | {raw.rfind(b"\n", 0, at) + 1 for at in inside} - {0}:
            found[_finder(whole, raw[:at])] += 1
    count(capsys, f"cuts of exports, found by: {dict(sorted(found.items()))}")
    assert not found["inside a line: nothing"]
    assert not found["inside a line: suspicion"]
    assert found["at a line end: nothing"] < found["at a line end: suspicion"] + found["at a line end: text"]


def _finder(whole: Reading, cut: bytes) -> str:
    where = "at a line end" if cut.endswith(b"\n") else "inside a line"
    said = read(cut)
    if isinstance(said, Incomplete):
        return f"{where}: text"
    marked = read(cut, "4f9Zq7")
    assert isinstance(marked, Incomplete) or (marked.marked and not marked.ended)
    accepted = isinstance(suspect(Known(seen(whole)), seen(said)), Accepted)
    return f"{where}: nothing" if accepted else f"{where}: suspicion"


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
