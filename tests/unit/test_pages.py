"""What the pages tell people to type exists: commands, their options, make targets, settings and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from backupflow.cli import app
from backupflow.errors import BackupflowError
from backupflow.settings import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROGRAM: Any = typer.main.get_command(app)
MADE = {"cli.md"}  # comes from the commands themselves
MESSAGES = {f"{found.__name__}": found.__doc__ or "" for found in BackupflowError.__subclasses__()}


def spans(text: str) -> Iterator[str]:
    """What a page sets as code: between backticks, and the lines of its fenced blocks."""
    fence = re.compile(r"^```.*?\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for block in fence.findall(text):
        yield from block.splitlines()
    for span in re.findall(r"`([^`]+)`", fence.sub("", text)):
        yield " ".join(span.split())


def complaint(line: str) -> str | None:
    """Why a command line of ours cannot be typed; None if it can."""
    words = shlex.split(line, comments=True)
    here = PROGRAM
    while words and hasattr(here, "commands"):
        name = words.pop(0)
        if name.startswith("-"):
            option = next((given for given in here.params if name in given.opts), None)
            if option is None:
                return f"{line}: no option {name}"
            del words[: 0 if option.is_flag else 1]
        elif name not in here.commands:
            return f"{line}: no command {name}"
        else:
            here = here.commands[name]
    known = {option for parameter in here.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return f"{line}: no option {unknown[0]}" if unknown else None


def commands_in(text: str, *, bare: bool = False) -> Iterator[str]:
    """The command lines of ours that a text shows, without the program's name; `bare`: each code span is one."""
    for span in spans(text):
        named = re.match(r"(?:\$ )?(?:\.venv/bin/)?backupflow (.+)", span)
        if named:
            yield named.group(1)
        elif bare and not span.startswith("-"):
            yield span


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in MADE], ids=lambda page: page.name)
def test_a_page_names_only_commands_that_exist(page: Path) -> None:
    """Whoever follows a page at night must not find that its command was only planned."""
    assert [why for line in commands_in(page.read_text()) if (why := complaint(line))] == []


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_names_only_commands_that_exist(name: str) -> None:
    """A failure tells what to do next: that command must be there."""
    assert [why for line in commands_in(MESSAGES[name], bare=True) if (why := complaint(line))] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    """The check itself must be able to fail: for a command, a sub-command and an option."""
    assert complaint("frobnicate") is not None
    assert complaint("device frobnicate core-1") is not None
    assert complaint("status --frobnicate") is not None
    assert complaint("--frobnicate status") is not None
    assert complaint("--data-dir FOLDER status --json") is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    """A link inside the tree leads to a file or folder."""
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_make_targets_that_exist(page: Path) -> None:
    """`make x` on a page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {span.split()[1] for span in spans(page.read_text()) if re.match(r"make [a-z]", span)}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    """A variable that nothing reads would be set in vain."""
    known = {str(field.validation_alias) for group in GROUPS for field in group.model_fields.values()}
    named = set(re.findall(r"\bCONFIG_[A-Z_]+\b", page.read_text()))
    stream = {"CONFIG_SNAPSHOTS"}  # of the bus, in capitals too
    assert [name for name in named - stream if not any(name in alias for alias in known)] == []
