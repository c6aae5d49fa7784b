"""The pages that say who has which login: a line for each role and room, by the code that gives them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from backupflow.adapters.db import roles as of_postgres
from backupflow.adapters.vault_roles import ROLES as VAULT_ROLES
from backupflow.core.system_backup import EVENTS
from backupflow.wiring.provision import FLOWER_LOGIN, NATS_ROLES, REDIS_ROLES
from backupflow.wiring.rooms import INSTALL, READERS, files

ROOT = Path(__file__).parents[2]
SERVERS = {
    "PostgreSQL": set(of_postgres.ROLES),
    "OpenBao": {*VAULT_ROLES, "installer"},
    "NATS": set(NATS_ROLES),
    "Redis": set(REDIS_ROLES),
}
WORDS = {EVENTS: "the secret that events are signed with", FLOWER_LOGIN: "the password of Flower"}


def rows(page: str, head: str) -> dict[str, list[str]]:
    """The table that begins with this head: first cell -> the others."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    lines = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if not line.startswith("|--")]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize("server", SERVERS)
def test_each_role_has_a_line_and_a_word_for_each_server_that_knows_it(server: str) -> None:
    """A role that is new, or is given a login to one more server, is written down; a dash is a login that is not."""
    table = rows("threat-model.md", "role")
    column = table.pop("role").index(server)
    said = {first.split()[0]: rest[column] for first, rest in table.items() if not first.startswith("admin")}
    assert set(said) == set().union(*SERVERS.values())
    assert {role for role, word in said.items() if word != "–"} == SERVERS[server]


@pytest.mark.parametrize("room", ["operator", "console"])
def test_the_page_says_whose_logins_are_in_a_room(room: str) -> None:
    """The rooms of more than one role: what is mounted is what is said, in that order."""
    _, there = rows("compose.md", "volume")[f"`room-{room}`"]
    found = re.match(r"the logins of ([a-z, ]+?)(, the .*)?$", there)
    assert found
    assert tuple(re.split(r", | and ", found[1])) == READERS[room]
    assert {name for name, words in WORDS.items() if words in (found[2] or "")} == {*WORDS} & {*files(room)}


def test_the_page_says_who_mounts_every_secret() -> None:
    """By the compose file itself."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    mounts = {
        name
        for name, service in services.items()
        for mount in service["volumes"]
        if mount.startswith(f"room-{INSTALL}:")
    }
    who, _ = rows("compose.md", "volume")[f"`room-{INSTALL}`"]
    assert {*re.findall(r"`([a-z-]+)`", who)} == mounts
