"""Write what the documentation takes from the code; with --check, only say what is out of date.

    python tools/generate_docs.py [--check]

docs/cli.md comes from the commands, docs/settings.md from backupflow.settings, docs/runbook/index.md from the failures,
docs/metrics.md from backupflow.telemetry.metrics, deploy/grafana/backupflow.json from tools/dashboard.py,
docs/messages.md and docs/tables.md from what tools/reference.py reads.
"""

from __future__ import annotations

import inspect
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import AliasChoices, SecretStr
from typer.testing import CliRunner

from backupflow import settings
from backupflow.cli import app
from backupflow.errors import BackupflowError, Verdict
from tools.dashboard import dashboard
from tools.metrics_page import metrics_page
from tools.reference import messages_page, tables_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Made by `make docs`: change the code, not this page. -->\n"
MEANS = {
    Verdict.RETRY: "The device's world may heal: tried again after a growing wait.",
    Verdict.BLOCK: "The same input fails the same way: the device is blocked until a person acts.",
    Verdict.GIVE_UP: "This collection only: recorded, and the device goes on at its interval.",
    Verdict.PAUSE: "Ours is down: nothing counts against a device, and it resumes by itself.",
    Verdict.HALT: "The process does not start.",
    Verdict.REFUSE: "What a person asked for cannot be done: nothing was changed.",
}


def cli_page() -> str:
    """Every command with its help, as a terminal of 80 columns shows it."""
    page = [NOTE, "# Commands", ""]
    for words in command_lines(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*words, "--help"], prog_name="backupflow", env={"COLUMNS": "80"})
        if shown.exit_code:
            sys.exit(shown.output)
        page += ["## " + " ".join(["backupflow", *words]), "", "```text", shown.output.strip(), "```", ""]
    return "\n".join(page)


def command_lines(command: Any, *words: str) -> Iterator[list[str]]:  # noqa: ANN401  typer gives its click no public name
    """The words of every command below one, itself first, in the order of its help."""
    yield list(words)
    for name, child in getattr(command, "commands", {}).items():
        yield from command_lines(child, *words, name)


def environment_names(group: type[BaseSettings], name: str, field: FieldInfo) -> str:
    """The names under which the environment is asked for a field, the first one first."""
    if isinstance(field.validation_alias, AliasChoices):
        return ", ".join(f"`{choice}`" for choice in field.validation_alias.choices)
    alias = field.validation_alias or field.alias
    return f"`{alias}`" if isinstance(alias, str) else f"`{group.model_config.get('env_prefix', '')}{name}`".upper()


def default_of(field: FieldInfo) -> str:
    """A default as a person would write it; a secret's is never printed."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=False)
    if default in (None, "", ()) or isinstance(default, SecretStr):
        return "–"
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g} s"
    return f"`{default}`"


def settings_page() -> str:
    """Every setting with its default and meaning."""
    page = [NOTE, "# Settings", "", "Read once from the environment when a process starts.", ""]
    for group in settings.GROUPS:
        page += [f"## {group.__name__}", "", inspect.getdoc(group) or "", ""]
        page += ["| setting | default | meaning |", "|---|---|---|"]
        for name, field in group.model_fields.items():
            meaning = " ".join((field.description or "").split())
            page.append(f"| {environment_names(group, name, field)} | {default_of(field)} | {meaning} |")
        page.append("")
    return "\n".join(page)


def runbook_page() -> str:
    """Every failure by its verdict, with its message and the page that says what to do."""
    page = [
        NOTE,
        "# Runbook",
        "",
        "One page a code, as it stands in the log, in `status` and in metrics.",
        "",
    ]
    failures = BackupflowError.__subclasses__()  # in the order of their definition
    for verdict, means in MEANS.items():
        page += [f"## {verdict}", "", means, "", "| code | what it says |", "|---|---|"]
        page += [f"| [{f.code}]({f.code}.md) | {inspect.getdoc(f)} |" for f in failures if f.verdict is verdict]
        page.append("")
    rest = sorted({path.stem for path in (DOCS / "runbook").glob("*.md")} - {"index"} - {f.code for f in failures})
    page += [
        "## alarms",
        "",
        "What is no failure of one act: alarms, which stand until they are cleared, and what only",
    ]
    page += ["[the rules of Prometheus](../metrics.md) tell.", ""]
    page += [f"- [{code}]({code}.md)" for code in rest]
    return "\n".join([*page, ""])


def main(*, check: bool) -> int:
    """Write the pages, or compare them; 1 if one is out of date."""
    pages = {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "runbook/index.md": runbook_page(),
        "metrics.md": f"{NOTE}\n{metrics_page()}",
        "messages.md": f"{NOTE}\n{messages_page()}",
        "tables.md": f"{NOTE}\n{tables_page()}",
        "../deploy/grafana/backupflow.json": dashboard(),
    }
    stale = [name for name, text in pages.items() if not (DOCS / name).is_file() or (DOCS / name).read_text() != text]
    for name in stale:
        if check:
            print(f"docs/{name} is out of date: make docs")
        else:
            (DOCS / name).write_text(pages[name])
            print(f"docs/{name} written")
    return 1 if check and stale else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    sys.exit(main(check="--check" in sys.argv))
