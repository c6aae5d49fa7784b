"""`backupflow normalize` and `check-export`: the driver's judgement over files; needs no install, starts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson

if TYPE_CHECKING:
    from backupflow.core.driver import Completeness

Kind = Annotated[str, typer.Option("--driver", metavar="NAME", help="The kind of device that gave it.")]


def normalize(
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="An export; - is stdin.")] = "-",
    driver: Kind = "routeros",
) -> None:
    """Write the normal form of an export.

    Two exports with the same normal form are the same configuration. Exit code 65 if it is incomplete.

    \b
    Example: backupflow normalize core-1.rsc
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.cli.normal import normalize as write

    raise typer.Exit(write(file, driver))


def check_export(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Exports; - is stdin.")],
    driver: Kind = "routeros",
    as_json: AsJson = False,
) -> None:
    """Say whether files are whole exports.

    Exit code 65 if one is not.

    \b
    Example: backupflow check-export *.rsc
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.cli.normal import read
    from backupflow.core.driver import Incomplete
    from backupflow.drivers import driver as find

    judge = find(driver)
    verdicts = [(file, judge.judge_file(read(file))) for file in files]
    if as_json:
        output.as_document({"files": [_document(file, verdict) for file, verdict in verdicts]})
    else:
        for file, verdict in verdicts:
            output.say(f"{file}: {_words(verdict)}")
    if any(isinstance(verdict, Incomplete) for _, verdict in verdicts):
        raise typer.Exit(Exit.DATA)


def _words(verdict: Completeness) -> str:
    from backupflow.core.driver import Incomplete

    if isinstance(verdict, Incomplete):
        return f"INCOMPLETE, {verdict.reason}: {verdict.detail}"
    facts = verdict.facts
    about = ", ".join(filter(None, (facts.version, facts.model, facts.serial or facts.system_id)))
    markers = f"; the router could not export: {', '.join(facts.markers)}" if facts.markers else ""
    return f"complete ({facts.vendor}{f' {about}' if about else ''}){markers}"


def _document(file: str, verdict: Completeness) -> dict[str, Any]:
    from backupflow.core.driver import Incomplete

    if isinstance(verdict, Incomplete):
        return {"file": file, "complete": False, "reason": verdict.reason, "detail": verdict.detail}
    facts = verdict.facts
    return {
        "file": file,
        "complete": True,
        "vendor": facts.vendor,
        "version": facts.version,
        "model": facts.model,
        "serial": facts.serial,
        "system_id": facts.system_id,
        "markers": list(facts.markers),
    }
