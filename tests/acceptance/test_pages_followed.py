"""What the tutorial and the how-tos say to type does what they say, typed word for word at a real install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.pages import missing, steps

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "tutorial",
    "how-to/many-routers",
    "how-to/changed-key",
    "how-to/rotate-passwords",
    "how-to/legacy-routers",
    "how-to/jump-hosts",
)


@pytest.mark.timeout(600)
def test_who_follows_the_pages_arrives(tmp_path: Path) -> None:
    """Each block ends well and answers what the page promises, with routers at the addresses of the documentation."""
    follow = [sys.executable, "-m", "tests.acceptance.following", str(tmp_path)]
    argv = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "bash", "-c"]
    argv += ['ip link set lo up && exec "$@"', "bash", *follow, *(f"docs/{page}.md" for page in PAGES)]
    told = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=told, capture_output=True, text=True, check=False, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_promises_too_much_is_found() -> None:
    """A line that was not said, or not after the one before it; what is elided may be anything."""
    assert missing("a … c\nd\n", "x\na  b b c e\nd\n") is None
    assert missing("d\na", "a\nd\n") == "a"
    assert missing("2 of 3", "2 of 4") == "2 of 3"


def test_a_page_is_read_as_a_person_reads_it() -> None:
    """Blocks of a shell are typed in order, what is for other machines is not, and an answer belongs to its block."""
    page = (
        "<!-- test: sh\nbefore\n-->\n```sh\none\n```\n```text\nsaid\n```\n<!-- test: not -->\n```sh\ntwo\n```\n"
        "```text\nof nobody\n```\n<!-- test: key r -->\n```routeros\n/x\n```\n"
        "<!-- test: types a b -->\n```sh\nthree\n```\n"
    )
    read = [(step.text.strip(), step.does, step.answer.strip()) for step in steps(page)]
    assert read == [("before", (), ""), ("one", (), "said"), ("", ("key", "r"), ""), ("three", ("types", "a", "b"), "")]
