"""`backupflow retention`: what is old enough to go, and a round by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, Yes, actor, confirm
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.retaining import Age
    from backupflow.flows.retaining import Round

app = typer.Typer(
    name="retention",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Old configurations: each is kept for CONFIG_RETENTION_DAYS after it was last seen, the last "
    "CONFIG_RETENTION_KEEP of a device and its current one however old.\n\nExample: backupflow retention run --dry-run",
)
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.", show_default="all")
]


@app.command()
def run(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and take nothing.")] = False,
    tenant: OfTenant = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take away what is older than the retention time. It is done each day; this is the same, at once.

    Whole beginnings of histories go, nothing from the middle. A daily round that would take more than a fifth of what a
    tenant has takes nothing, and an alarm stands: this command asks, and takes it.

    \b
    Examples:
      backupflow retention run --dry-run
      backupflow retention run --tenant customer-1
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import retaining

    store, age = wiring().retaining, _age()
    tenant_id = wiring().devices("reader").tenant(tenant) if tenant is not None else None
    planned = list(retaining.look(store, age, tenant_id, confirmed=True))
    gone = sum(one.configurations for one in planned)
    if not dry_run and gone:
        what = output.counted(gone, "configuration")
        confirm(f"{what} that {_age_in_words(age)} go for good. Take them away?", yes=yes or as_json)
        with progress("taking away", gone, quiet=as_json) as more:
            planned = [_taken(one, age, more) for one in planned]
    _show(planned, age, dry_run=dry_run, as_json=as_json)


def _taken(planned: Round, age: Age, more: Any) -> Round:  # noqa: ANN401 - a callback of the bar
    from backupflow.flows import retaining

    done = retaining.take(wiring().retaining, age, planned, actor())
    more(planned.configurations)
    return done


def _age() -> Age:
    from backupflow.core.retaining import Age

    keeping = wiring().settings.keeping
    return Age(wiring().retaining.before(timedelta(days=keeping.retention_days)), keeping.retention_keep)


def _age_in_words(age: Age) -> str:
    return f"were last seen before {output.in_words(age.before)}"


def _show(rounds: Sequence[Round], age: Age, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.as_document({"before": age.before, "keep": age.keep, "tenants": [_document(one) for one in rounds]})
        return
    devices = [(one.holding.tenant, aged) for one in rounds for aged in one.aged]
    if not devices:
        output.say(f"nothing is old enough: of each device the last {age.keep} stay, and what was seen since "
                   f"{output.in_words(age.before)}")  # fmt: skip
        return
    rows = [
        (tenant, aged.name, aged.cut.configurations, "all" if aged.cut.below is None else aged.cut.below, aged.waits)
        for tenant, aged in devices
    ]
    output.show_table(("tenant", "device", "configurations", "below", "waits since"), rows)
    total = sum(one.configurations for one in rounds)
    taken = sum(one.taken.configurations for one in rounds)
    there = sum(one.holding.configurations for one in rounds)
    said = f"{total:,} of {there:,} would go" if dry_run else f"{taken:,} of {there:,} taken away"
    output.say(f"{said}; they {_age_in_words(age)}")


def _document(one: Round) -> dict[str, Any]:
    return {
        "tenant": one.holding.tenant,
        "configurations": one.holding.configurations,
        "old": one.configurations,
        "taken": one.taken.configurations,
        "devices": [
            {
                "device": aged.name,
                "configurations": aged.cut.configurations,
                "below": aged.cut.below,
                "waits": aged.waits or None,
            }
            for aged in one.aged
        ],
    }
