"""The door itself: what every command offers, and how quickly it opens."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.main import get_command

from backupflow import errors
from backupflow.cli import asking, main
from backupflow.cli.commands import Commands, app
from backupflow.cli.exits import Exit, exit_of, line_of, table
from backupflow.cli.options import interval_seconds, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAVY = {"alembic", "asyncssh", "celery", "hvac", "kombu", "nats", "paramiko", "psycopg", "redis", "rich", "sqlalchemy"}
HEAVY |= {"pydantic_settings", "requests", "cryptography"}
WHOLE = b"# 2026-11-20 10:00:00 by RouterOS 7.14\n# software id = ABCD-EFGH\n#\n/ip address\nadd address=192.0.2.1/24\n"


def commands(group: object = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path."""
    subcommands: dict[str, Any] = getattr(group or get_command(app), "commands", {})
    for name, command in subcommands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def unwrapped(text: str | None) -> str:
    """A help text on one line."""
    return " ".join((text or "").split())


def run(*arguments: str) -> int:
    """Run a command in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_every_command_has_an_example() -> None:
    """Whoever asks for help sees a line that can be copied."""
    found = dict(commands())
    assert len(found) > 20
    examples = {path: rf"backupflow (--\S+ \S+ )?{' '.join(path)}" for path in found}
    without = [path for path, example in examples.items() if not re.search(example, unwrapped(found[path].help))]
    assert without == []


def test_every_command_that_tells_something_tells_it_as_json() -> None:
    """All but those whose result is no list of facts."""
    without: set[tuple[str, ...]] = {("normalize",), ("up",), ("demo",), ("check",)}
    # Run by a machine's start-up, or become a process: they tell their steps as they go.
    without |= {("process",), ("secrets",), ("provision",), ("backup-system", "restore")}
    found = dict(commands())
    json_less = {p for p, c in found.items() if not any("--json" in parameter.opts for parameter in c.params)}
    assert json_less <= without


def test_no_option_takes_a_secret_as_its_value() -> None:
    """An option that is named for a secret is a flag, a choice of given words, or takes the name of a file."""
    secretive = [
        (path, option)
        for path, command in commands()
        for parameter in command.params
        for option in parameter.opts
        if any(word in option for word in ("password", "passphrase", "secret", "key", "token"))
        and not getattr(parameter, "is_flag", False)
        and not issubclass(parameter.type_descriptor.annotation, Enum)
        and not option.endswith(("-file", "--seal-key"))
    ]
    assert secretive == []


@pytest.mark.parametrize("arguments", [["--help"], ["device", "add", "--help"], ["status", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help and completion answer at once: no server's library is imported for them."""
    code = f"""
import sys
from backupflow.cli import main
try:
    main({arguments})
except SystemExit:
    print(*(name for name in sys.modules if '.' not in name), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("Usage")
    assert not HEAVY & set(done.stderr.split())


def test_normalize_imports_not_even_typer(tmp_path: Path) -> None:
    """It is run once a file over thousands of files."""
    file = tmp_path / "whole.rsc"
    file.write_bytes(WHOLE)
    code = f"""
import sys
from backupflow.cli import main
try:
    main(['normalize', {str(file)!r}])
finally:
    print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == Exit.OK
    assert "backupflow.drivers.routeros.driver" in done.stdout.split()
    assert not (HEAVY | {"typer", "pydantic"}) & set(done.stdout.split())


@pytest.mark.parametrize("form", [("normalize",), ("normalize", "--driver", "routeros")])
def test_normalize_writes_and_then_says_what_is_missing(
    form: tuple[str, ...], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The normal form comes first, then the exit code and the reason; both ways into the command agree."""
    whole, broken = tmp_path / "whole.rsc", tmp_path / "broken.rsc"
    whole.write_bytes(WHOLE)
    broken.write_bytes(WHOLE.rstrip(b"\n") + b' comment="cut')
    assert run(*form, str(whole)) == Exit.OK
    complete = capfdbinary.readouterr()
    assert b"add address=192.0.2.1/24" in complete.out
    assert complete.err == b""
    assert run(*form, str(broken)) == Exit.DATA
    cut = capfdbinary.readouterr()
    assert b"/ip address" in cut.out
    assert cut.err.startswith(b"backupflow: incomplete, truncated: ")
    assert run(*form, str(tmp_path / "none.rsc")) == Exit.NOT_FOUND


def test_check_export_judges_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a file; one that is not whole decides the exit code."""
    whole, other = tmp_path / "whole.rsc", tmp_path / "other.rsc"
    whole.write_bytes(WHOLE)
    other.write_bytes(b"bad command name export (line 1 column 1)\n")
    assert run("check-export", str(whole)) == Exit.OK
    assert run("check-export", str(whole), str(other)) == Exit.DATA
    said = [line.rpartition(".rsc: ")[2] for line in capsys.readouterr().out.splitlines()]
    assert [words.partition(" ")[0].rstrip(",") for words in said] == ["complete", "complete", "INCOMPLETE"]


def test_every_exit_code_is_told_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The table in the code is the one that is shown."""
    run("--help")
    shown = capsys.readouterr().out
    assert all(f"{code.value}  {code.meaning}" in shown for code in Exit)
    assert table().count("\n") == len(Exit) + 1


def test_failures_have_exit_codes_by_what_they_mean() -> None:
    """A script can tell what is not there from what is down."""
    assert exit_of(errors.NotFound()) == Exit.NOT_FOUND
    assert exit_of(errors.StoreUnavailable()) == Exit.UNAVAILABLE
    assert exit_of(errors.TransitKeyMissing()) == Exit.UNAVAILABLE
    assert exit_of(errors.NotRunning()) == Exit.UNAVAILABLE
    assert exit_of(errors.Conflict()) == Exit.REFUSED
    assert exit_of(errors.SchemaOutdated()) == Exit.SETTINGS
    assert exit_of(errors.DeviceTimeout()) == Exit.WRONG
    assert exit_of(errors.AlreadyThere()) == Exit.WOULD_OVERWRITE


def test_what_a_command_fails_with_names_its_page() -> None:
    """At night nobody looks for it; what was only asked for wrongly says all in its line."""
    assert line_of(errors.EscrowFailed("why")).endswith(" (why) – docs/runbook/escrow_failed.md")
    assert line_of(errors.InputInvalid("no such port: x")) == "no such port: x"


@pytest.mark.parametrize(
    ("text", "wanted"), [("90", 90), ("90s", 90), ("15m", 900), ("15 min", 900), ("1.5h", 5400), ("2d", 172800)]
)
def test_spans_are_read_with_their_units(text: str, wanted: float) -> None:
    """A bare number is seconds."""
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "h", "-5", "1w", "1h30m", "nan"])
def test_what_is_no_span_is_a_usage_error(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(typer.BadParameter):
        seconds(text)


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (typer.Abort(), "\nbackupflow: interrupted; nothing was changed\n"),
        (KeyboardInterrupt(), "backupflow: interrupted\n"),
        (KeyboardInterrupt("no file was written"), "backupflow: interrupted; no file was written\n"),
    ],
    ids=["question", "work", "file"],
)
def test_an_interruption_is_told_with_what_came_of_it(
    raised: BaseException, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C: an exit code of its own, and at a prompt, or where a file was to come, a word that nothing came of it."""
    door = typer.Typer(cls=Commands, rich_markup_mode=None)

    @door.command()
    def ask() -> None:
        raise raised

    @door.command()
    def other() -> None:
        """So that it is a group."""

    with pytest.raises(SystemExit) as ended:
        door(["ask"])
    assert ended.value.code == Exit.INTERRUPTED
    assert capsys.readouterr().err == says


def test_who_stops_watching_is_told_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was asked for is not taken back."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asking, "_wait", interrupted)
    with pytest.raises(typer.Exit) as ended:
        asking.wait([1], None, lambda _: None)
    assert ended.value.exit_code == Exit.INTERRUPTED
    assert "what was asked for goes on: see `status`" in capsys.readouterr().err


def test_an_interval_has_a_unit_and_is_no_less_than_a_minute() -> None:
    """A bare 2 may be meant as hours; two seconds would be a mistake for a fleet."""
    assert (interval_seconds("1m"), interval_seconds(" 1.5h "), interval_seconds(None)) == (60, 5400, None)
    with pytest.raises(typer.BadParameter, match="needs a unit: 2m, 2h or 2d"):
        interval_seconds("2")
    for text in ("59s", "0.5m", "often", "0h"):
        with pytest.raises(typer.BadParameter):
            interval_seconds(text)
