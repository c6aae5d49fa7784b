"""`backupflow device import`: a whole fleet from one file, or nothing of it."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import import_view, output, timetable_view
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, Yes, actor, confirm, confirm_typed
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_trust
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from backupflow.core.importing import Asked, Plan, Problem
    from backupflow.flows.importing import Import, ImportPorts

_MOST_ERRORS = 50  # that are shown
_STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class How:
    """What an import may do, as options."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False
    update: Annotated[bool, typer.Option("--update", help="Change devices that are there as the file says.")] = False
    prune: Annotated[bool, typer.Option("--prune", help="Remove devices that are not in the file; asks.")] = False
    partial: Annotated[bool, typer.Option("--partial", help="Take what is right, and leave out what is not.")] = False
    make_groups: Annotated[bool, typer.Option("--make-groups", help="Make groups and sites that are not there.")] = (
        False
    )
    passwords_in_file: Annotated[
        bool, typer.Option("--passwords-in-file", help="The file, of mode 0600, has columns username and password.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for each device that is another.")] = False

    def asked(self, tenant: str) -> Asked:
        """As the core knows it."""
        from backupflow.core.importing import Asked, Orphans

        orphans = Orphans.REMOVE if self.prune else Orphans.STAY
        return Asked(tenant, update=self.update, orphans=orphans, makes_scopes=self.make_groups, partial=self.partial)


@with_groups
def import_devices(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A table of devices; - is stdin.")],
    *,
    how: How,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Enrol all devices of a table, in one transaction: of a file with an error nothing is taken.

    The first line says what each column is, in any order, set apart by commas, semicolons or tabs: name, host, port,
    profile, group, site, jump (a jump host, or direct), fingerprint (SHA256:…), legacy_ssh (yes or no), tenant,
    interval (15m, 6h, 1d), or cron (0 2 * * * Europe/Berlin). Only name must be there, and host for a device that is
    new; an empty cell says nothing.
    Blank lines and lines that begin with # are left out. Devices are known by their names: a file may be imported
    again and again. Profiles and jump hosts must be there (`credential add`, `jump add`). A login that it writes ends
    no block and no suspension: that is a person's to do.

    \b
    Examples:
      backupflow device import fleet.csv --dry-run
      backupflow device import fleet.csv --update --make-groups
      backupflow device import fleet.csv --update --prune
      backupflow device import logins.csv --passwords-in-file
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.table import read_table
    from backupflow.flows import importing

    if how.prune and how.partial:
        raise typer.BadParameter("--prune and --partial do not go together: a line that is wrong may be of any device")
    data = _read(file, private=how.passwords_in_file)
    rows, wrong = read_table(_decoded(file, data), passwords=how.passwords_in_file)
    sha256 = None if how.passwords_in_file or wrong else hashlib.sha256(data).hexdigest()
    about = {"sha256": sha256} if sha256 else {}
    given = importing.Import(rows, how.asked(tenant), about={**about, "partial": how.partial})
    if any(row.tenant is None for row in rows):
        wiring().devices("enroller").tenant(tenant)  # once, not in each line of the file
    ports = wiring().import_ports(actor())
    plan = importing.look(ports, given)
    problems = tuple(sorted((*wrong, *plan.problems), key=lambda problem: problem.line))
    shown = import_view.Shown(plan, problems, sha256, dry_run=how.dry_run, lines=how.verbose or how.dry_run)
    if problems and not (how.partial and rows):
        _refuse(problems, shown, rest=bool(rows), as_json=as_json)
    if not how.dry_run:
        _ask(plan, ports, yes=yes)
        _take(ports, given, plan, quiet=as_json)
    import_view.show(shown, as_json=as_json)
    _list(problems)
    passwords = sum(row.password is not None for row in rows)
    if passwords:
        held = output.counted(passwords, "password")
        output.note(f"{file} still holds {held}: delete it, or keep it where nobody reads it")
    if problems:
        raise typer.Exit(Exit.DATA if how.dry_run else Exit.WRONG)


def _take(ports: ImportPorts, given: Import, plan: Plan, *, quiet: bool) -> None:
    from backupflow.flows import importing

    _settle(plan)
    sealed = [*plan.added, *(change.wanted for change in plan.changed)]
    work = sum(row.password is not None for row in sealed) + len(plan.added) + len(plan.changed) + len(plan.gone)
    with progress("importing", work, quiet=quiet) as moved:
        done = importing.take(ports, given, plan, moved=moved)
    timetable_view.note(done.rescheduled)


def _settle(plan: Plan) -> None:
    """Ask what first keys are worth where one password becomes that of many; before anything is taken."""
    tenants = {tenant for tenant, _ in plan.comes_to}
    for tenant in sorted(tenants):
        more = {name: count for (whose, name), count in plan.comes_to.items() if whose == tenant}
        settle_trust(wiring().devices("enroller").tenant(tenant), more)


def _ask(plan: Plan, ports: ImportPorts, *, yes: bool) -> None:
    """Before devices go; before most of them go, whatever the command line says."""
    if not plan.gone:
        return
    tenants = {known.tenant for known in plan.gone}
    here = ports.store.standing(tenants).devices
    for tenant in sorted(tenants):
        going = [known for known in plan.gone if known.tenant == tenant]
        of_tenant = sum(known.tenant == tenant for known in here)
        says = f"{len(going):,} of {of_tenant:,} devices of the tenant {tenant} are not in the file."
        if len(going) * 2 > of_tenant:
            if not sys.stdin.isatty():
                says += " These are more than half: that is done at a terminal only, where their number is typed"
                output.stop(Exit.REFUSED, f"{says}; nothing was changed")
            confirm_typed(f"{says} These are more than half: remove them?", str(len(going)), yes=False)
        else:
            confirm(f"{says} Remove them?", yes=yes)


def _refuse(problems: tuple[Problem, ...], shown: import_view.Shown, *, rest: bool, as_json: bool) -> None:
    """Take nothing, and say why; `rest`: whether there are rows beside those that are wrong."""
    if as_json:
        import_view.show(shown, as_json=True)
    _list(problems)
    count = f"{len(problems):,} error{'s' if len(problems) > 1 else ''}"
    remedy = "Correct the file" + (", or take the rest of it with --partial" if rest else "")
    output.stop(Exit.DATA, f"{count}; nothing was taken. {remedy}")


def _list(problems: tuple[Problem, ...]) -> None:
    for problem in problems[:_MOST_ERRORS]:
        output.note(str(problem))
    if len(problems) > _MOST_ERRORS:
        output.note(f"… and {len(problems) - _MOST_ERRORS:,} errors more")


def _decoded(file: Path, data: bytes) -> str:
    from backupflow.core.table import decoded

    try:
        return decoded(data)
    except InputInvalid as exc:
        output.stop(Exit.DATA, f"{'stdin' if file == _STDIN else file}: {exc.detail}; nothing was taken")


def _read(file: Path, *, private: bool) -> bytes:
    """What is in it, up to more than may be; logins only from a file that nobody else may read."""
    from backupflow.core.table import LARGEST

    if file == _STDIN:
        if private:
            output.stop(Exit.REFUSED, "--passwords-in-file needs a file of mode 0600: logins are not read from stdin")
        return sys.stdin.buffer.read(LARGEST + 1)
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | (os.O_NONBLOCK if private else 0)), "rb") as opened:
            if private:
                _check_private(file, os.fstat(opened.fileno()))
            return opened.read(LARGEST + 1)
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"{file} cannot be read: {exc.strerror}")


def _check_private(file: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        output.stop(Exit.REFUSED, f"{file} is not a file: logins are read from a file of mode 0600 only")
    if about.st_uid != os.geteuid():
        output.stop(Exit.REFUSED, f"{file} belongs to somebody else: logins are read from a file of your own only")
    if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        output.stop(Exit.REFUSED, f"others may read {file}: chmod 600 {file}")
