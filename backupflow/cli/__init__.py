"""The command line: shims over flows. Importing it opens nothing and imports nothing heavy."""

from __future__ import annotations

import os
import resource
import sys
from typing import TYPE_CHECKING, NoReturn

from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    import typer

_WITH_FILE = 2  # words of `normalize FILE`, `health QUESTION`


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code; what is expected to fail ends in one line on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    _allow_no_core_file()
    try:
        if words[:1] == ["normalize"] and len(words) == _WITH_FILE and (words[1] == "-" or words[1][:1] != "-"):
            from backupflow.cli.normal import normalize  # run once a file: typer alone would double its time

            sys.exit(normalize(words[1], "routeros"))
        if (asked := _quick_health(words)) is not None:
            sys.exit(asked)
        _run(words)
    except BackupflowError as exc:
        from backupflow.cli import output
        from backupflow.cli.exits import exit_of, line_of

        output.note(f"backupflow: {line_of(exc)}")
        sys.exit(exit_of(exc))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _allow_no_core_file() -> None:
    """It would hold the passwords and keys that this process has in memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _quick_health(words: list[str]) -> int | None:
    """`health [live|ready]` of one process, which a probe runs every few seconds: without typer, or None."""
    listen = os.environ.get("CONFIG_METRICS_LISTEN", "")
    if words[:1] != ["health"] or listen in {"", "off"}:
        return None
    from backupflow.cli.probing import QUESTIONS, quick

    question = words[1] if len(words) > 1 else "ready"
    return quick(question, listen) if len(words) <= _WITH_FILE and question in QUESTIONS else None


def _run(words: list[str]) -> None:
    from backupflow.cli import session

    try:
        _app()(words)
    finally:
        session.end()


def _app() -> typer.Typer:
    from backupflow.cli.commands import app

    return app


def __getattr__(name: str) -> typer.Typer:
    """`backupflow.cli.app`, made when it is first asked for."""
    if name == "app":
        return _app()
    raise AttributeError(name)


def __dir__() -> list[str]:
    """What is here, `app` too: the tool that writes the documentation looks for it."""
    return [*globals(), "app"]
