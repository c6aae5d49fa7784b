"""What is told of changes lies nowhere in clear (I5), is masked where it is shown, and revealed to who may see it."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backupflow.cli.probes import told_addresses
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


def test_no_metric_and_no_probe_quotes_a_configuration(scene: Scene) -> None:
    """They answer whoever reaches them: numbers, codes and states of each process, and all of them are ready."""
    said = {name: answers(address) for name, address in told_addresses(scene.install.data)}
    assert said.keys() == {"maintain", "ingest", "interpret", "collect-slow", "collect", "beat"}
    for name, (metrics, live, ready) in said.items():
        assert (live, ready) == ("alive\n", "ready\n"), name
        for markers in (scene.secrets, scene.texts):
            assert markers.finder().in_bytes(name, (metrics + live + ready).encode()) == set()
    assert counted(said["collect"][0], "config_backup_total", status="success") >= 3
    assert counted(said["ingest"][0], "backupflow_ingest_messages_total", outcome="stored") >= 3
    assert counted(said["interpret"][0], "backupflow_interpret_changes_total", kind="change") >= 2
    assert counted(said["maintain"][0], "backupflow_tell_events_total", result="delivered") >= 2
    assert counted(said["beat"][0], "backupflow_schedule_claims_total", kind="claimed") >= 3
    assert b"collect: ready" in scene.install.command("health").stdout


def answers(address: str) -> tuple[str, str, str]:
    """Of /metrics, /live and /ready."""
    host, _, port = address.rpartition(":")
    found = []
    for path in ("metrics", "live", "ready"):
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", f"/{path}")
        found.append(connection.getresponse().read().decode())
        connection.close()
    return found[0], found[1], found[2]


def counted(metrics: str, name: str, **labels: str) -> float:
    """The value of one series, as Prometheus reads it."""
    samples = [one for family in text_string_to_metric_families(metrics) for one in family.samples]
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def test_a_collection_is_followed_by_its_id_through_all_logs(scene: Scene) -> None:
    """From the claim to what the hook was told: each stage says one line of it, in the log of its own process."""
    row = scene.install.rows(
        "SELECT c.id FROM collection c JOIN device d ON d.id = c.device_id JOIN interpretation i"
        " ON i.collection_id = c.id WHERE d.name = :name AND i.kind = 'change' ORDER BY c.id DESC LIMIT 1",
        name=EDITED,
    )[0]
    found = {
        (file.stem, line["event"], line.get("outcome"))
        for file in (scene.install.data / "logs").glob("*.log")
        for line in lines(file.read_text("utf-8", "replace"))
        if line.get("collection_id") == row.id
    }
    assert found >= {
        ("beat", "collection_claimed", None),
        ("collect", "collection_ended", "published"),
        ("ingest", "message_stored", "stored"),
        ("interpret", "change_interpreted", "change"),
        ("maintain", "event_told", None),
    }


def lines(text: str) -> Iterator[dict[str, Any]]:
    """The events in a log of ours; a server writes lines of its own."""
    for line in text.splitlines():
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and "event" in said:
                yield said
