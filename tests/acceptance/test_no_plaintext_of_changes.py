"""What is told of changes lies nowhere in clear (I5), is masked where it is shown, and revealed to who may see it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Fleet, RouterSpec
from backupflow.simulator import Login as Account
from tests.acceptance.everywhere import Everywhere
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.acceptance.marked_changes import EDITED, SECRETS, edits, interpreted, looks
from tests.acceptance.search import Markers
from tests.acceptance.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = PATIENT


@dataclass
class Scene:
    """An install that has told of marked edits. `texts`: what is no secret, and yet of a configuration."""

    everywhere: Everywhere
    secrets: Markers
    texts: Markers
    given: Path  # what the test itself gave, the hook heard and was revealed: the one place with plaintext

    @property
    def install(self) -> Install:
        """The install."""
        return self.everywhere.install


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Edited, interpreted, told to a hook and looked at in every way; then the search may begin."""
    secrets, texts, began = Markers(), Markers(), time.time()
    given = tmp_path_factory.mktemp("heard")
    hook = given / "hook"
    hook.write_text(f"#!/bin/sh\ncat >> {given / 'heard'}\n")
    hook.chmod(0o700)
    install = Install(
        tmp_path_factory.mktemp("edited"),
        CONFIG_BACKUP_SPREAD_FROM=0,
        CONFIG_BACKUP_SPREAD_TO=0,
        CONFIG_LOG_LEVEL="DEBUG",
        CONFIG_ON_EVENT=hook,
    )
    account = Account("backup", secrets.make("login"))
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet([RouterSpec(name, logins=(account,)) for name in (EDITED, "plain")]))
        stack.callback(install.stop)
        install.start()
        witness = Witness(install, (install.root, given))
        stack.callback(witness.stop)
        for name in (EDITED, "plain"):
            install.add(name, fleet[name].port, Login("backup", account.password))
        wait_for(lambda: len(interpreted(install)) == 1, "a first interpretation", 120)
        edits(install, fleet, secrets, texts, given)
        looks(install, given)
        wait_for(lambda: (given / "heard").exists() and heard(given).count('"changed"') >= 2, "the hook to hear", 90)
        own = frozenset({given, install.root.parent})
        yield Scene(Everywhere(install, witness, own, began), secrets, texts, given)


def heard(given: Path) -> str:
    """What the hook was told."""
    return (given / "heard").read_text()


def test_no_secret_is_found_anywhere(scene: Scene) -> None:
    """At rest, on the way, in logs, processes and events, and on any terminal where nobody said --reveal."""
    assert scene.everywhere.search(scene.secrets.finder()) == set()


def test_no_text_of_a_configuration_lies_anywhere(scene: Scene) -> None:
    """Be it no secret: only whoever asks is shown it, and the hook, whose process is its owner's."""
    shown = ("terminal ", "cmdline of hook", "environ of hook", "environ of cat")
    hits = scene.everywhere.search(scene.texts.finder())
    assert {hit for hit in hits if not hit.where.startswith(shown)} == set()
    assert {hit.marker for hit in hits if hit.where == f"terminal history {EDITED}"} >= {"rule"}


def test_edits_are_told_masked_and_what_is_ignored_is_left_out(scene: Scene) -> None:
    """Each secret is seen to be another one; the note is ignored, and yet it is in the difference."""
    told = scene.install.told
    assert interpreted(scene.install)[-2:] == [("change", len(SECRETS) + 1, 1)] * 2
    history, diff = told[f"history {EDITED}"].decode(), told[f"diff {EDITED}"].decode()
    assert history.count("••• changed") >= 2 * len(SECRETS)
    assert diff.count("••• changed") >= len(SECRETS)
    assert "src-address 10.1.0.0/16 → 10.2.0.0/16" in " ".join(history.split())
    assert "ignored" in history
    texts = scene.texts.finder()
    assert {hit.marker for hit in texts.in_bytes("diff", diff.encode())} >= {"rule", "edit 2: note"}
    assert "edit 2: note" not in {hit.marker for hit in texts.in_bytes("history", history.encode())}


def test_the_hook_hears_of_each_edit_masked(scene: Scene) -> None:
    """What it is told are the lines of the history, without a secret and without what is ignored."""
    said = heard(scene.given).encode()
    assert {hit.marker for hit in scene.texts.finder().in_bytes("heard", said)} >= {"rule"}
    assert not {hit.marker for hit in scene.texts.finder().in_bytes("heard", said)} & {"edit 1: note", "edit 2: note"}
    assert scene.secrets.finder().in_bytes("heard", said) == set()


@pytest.mark.parametrize("name", ["history", "diff", "show"])
def test_who_says_reveal_sees_each_secret(scene: Scene, name: str) -> None:
    """The positive control: what was looked for was really there; and it is written down who saw it."""
    file = scene.given / f"revealed-{name}"
    seen = {hit.marker for hit in scene.secrets.finder().in_file(file, name)}
    lines_only = {"script", "variable"} if name == "history" else set()  # of a script it tells how many lines differ
    assert seen >= {f"edit 2: {kind}" for kind in SECRETS.keys() - lines_only}


def test_a_secret_is_found_by_who_may_see_it_only(scene: Scene) -> None:
    """A search over masked text finds none; each search and each revealing is in the audit."""
    found = scene.secrets.finder().in_file(scene.given / "revealed-search", "search")
    assert "edit 2: ppp" in {hit.marker for hit in found}
    assert b"0 lines of 0 devices" in scene.install.told[f"search --pattern-file {scene.given / 'a-secret'}"]
    acts = [row.action for row in scene.install.rows("SELECT action FROM audit ORDER BY id")]
    assert acts.count("config_revealed") == 3
    assert acts.count("config_searched") >= 3
