"""`backupflow doctor`: each part that backupflow depends on, and what to do about it; `backupflow migrate`."""

from __future__ import annotations

import stat
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from backupflow.cli import doctor_fleet, doctor_hook, output
from backupflow.cli.check import Check
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson
from backupflow.cli.session import wiring
from backupflow.cli.standing_lines import given_up_lines, jobs_line
from backupflow.core.liveness import PROCESS_DEAF
from backupflow.core.overview import JOB_LATE
from backupflow.core.verdict import missing
from backupflow.errors import BackupflowError, BusUnavailable, SettingsInvalid, StoreUnavailable, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.wiring import Wiring

CLOCKS_APART = timedelta(seconds=5)
POSTGRES = "PostgreSQL"
# The errors themselves say "See `doctor`", which is no help within it.
_REMEDIES: dict[type[BackupflowError], str] = {
    StoreUnavailable: "start it where it runs (`backupflow up` starts its own), or correct DATABASE_URL; "
    "docs/runbook/store_unavailable.md",
    VaultUnavailable: "start or unseal it, or correct OPENBAO_ADDR; docs/runbook/vault_unavailable.md",
    BusUnavailable: "start it or give it room, or correct NATS_URL; docs/runbook/bus_unavailable.md",
}
NEEDED = {"scheduler": "beat", "collector": "a collect worker", "ingester": "an ingest worker", "operator": "maintain"}


def doctor(as_json: AsJson = False) -> None:
    """Look at everything it depends on.

    Servers, keys, stream, clock, logins, jump hosts, processes and alarms, and what to do about
    each; exit code 1 if any is wrong.

    \b
    Example: backupflow doctor
    """  # noqa: D301 - \b keeps the line of the example
    found = wiring()
    checks = look_at_all(found)
    wrong = [check for check in checks if not check.well]
    if as_json:
        output.as_document({"well": not wrong, "checks": [check.document() for check in checks]})
    else:
        rows = [
            ("skipped" if check.skipped else "well" if check.well else "wrong", check.name, check.says)
            for check in checks
        ]
        output.show_table(("", "part", "finding"), rows, {"well": "green", "wrong": "bold red", "skipped": "yellow"})
        output.say("")
        for check in checks:
            if check.remedy:
                output.say_long(f"{check.name}: {check.remedy}")
            for line in check.each:
                output.say_long(line)
    if wrong:
        raise typer.Exit(Exit.WRONG)


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this version's schema.

    \b
    Example: backupflow migrate
    """  # noqa: D301 - \b keeps the line of the example
    revision = wiring().migrate()
    if as_json:
        output.as_document({"revision": revision})
    else:
        output.say(f"schema {revision}")


def look_at_all(found: Wiring) -> list[Check]:
    """Each part in order; what is read from PostgreSQL is not asked while that is away: one reason is enough."""
    checks: list[Check] = []
    away = False
    for name, look in CHECKS.items():
        if away and name not in _APART:
            checks.append(Check(name, "not asked: PostgreSQL is away", skipped=True))
            continue
        try:
            checks.append(look(found))
        except BackupflowError as exc:
            away = away or (name == POSTGRES and isinstance(exc, StoreUnavailable))
            checks.append(Check(name, exc.detail or exc.code, _REMEDIES.get(type(exc)) or str(exc)))
    return checks


def _database(found: Wiring) -> Check:
    return Check(POSTGRES, f"version {found.postgres_version('reader')}")


def _schema(found: Wiring) -> Check:
    return Check("schema", f"revision {found.require_schema('reader')}")


def _clock(found: Wiring) -> Check:
    before = datetime.now(UTC)
    theirs = found.statuses.clock()
    after = datetime.now(UTC)
    apart = max(before - theirs, theirs - after, timedelta(0))
    remedy = "set both clocks by NTP; all times are PostgreSQL's" if apart > CLOCKS_APART else ""
    return Check("clock", f"at most {apart.total_seconds():.1f} s apart from PostgreSQL's", remedy)


def _vault(found: Wiring) -> Check:
    status = found.vault("reader").status()
    if status.initialised and not status.sealed and status.active:
        return Check("OpenBao", f"version {status.version}")
    raise VaultUnavailable("sealed" if status.sealed else "not initialised" if not status.initialised else "standby")


def _keys(found: Wiring) -> Check:
    from backupflow.flows.ingest import check_marks

    marks = found.keys("reader").all_marks()
    if not marks:
        raise SettingsInvalid("no tenant has keys yet: `backupflow up` makes them")
    check_marks(found.vault("reader"), marks, found.keys("reader").all_marks)
    tenants = output.counted(len({tenant_id for tenant_id, _ in marks}), "tenant")
    says = f"{len(marks)} canaries of {tenants} answer as ever"
    return Check("keys", says, each=tuple(given_up_lines(found.statuses.overview())))


def _bus(found: Wiring) -> Check:
    status = found.bus("operator").status()
    says = f"version {status.version}, {status.messages} messages, {status.room / 2**20:.0f} MiB free in the stream"
    if not status.room:
        raise BusUnavailable(f"the stream is full: {says}")
    return Check("NATS", says)


def _broker(found: Wiring) -> Check:
    version, trouble = found.broker_version("operator")
    remedy = f"the broker does not answer ({trouble}): start it, or correct REDIS_URL" if trouble else ""
    return Check("broker", version or trouble, remedy)


def _logins(found: Wiring) -> Check:
    folder = found.settings.servers.secrets_dir
    files = [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    if not files:
        raise SettingsInvalid(f"CONFIG_SECRETS_DIR: no logins in {folder}")
    public = sorted(file.name for file in files if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    says = output.counted(len(files), "file") + (f", others may read {', '.join(public)}" if public else ", private")
    return Check("logins", says, f"chmod 600 {folder}/*" if public else "")


def _processes(found: Wiring) -> Check:
    overview = found.statuses.overview()
    alive = Counter(process.kind for process in overview.processes if process.alive(overview.now))
    absent = [NEEDED[role] for role in missing(overview.processes, overview.now)]
    says = ", ".join(f"{count} {role}" for role, count in sorted(alive.items())) or "none was heard for 30 s"
    deaf = [alarm.detail for alarm in overview.alarms if alarm.code == PROCESS_DEAF]
    remedies = [f"not running: {', '.join(absent)}; `backupflow up` starts them all"] if absent else []
    says += f"; {len(deaf)} deaf" if deaf else ""
    return Check("processes", says, "; ".join([*remedies, *deaf]))


def _jobs(found: Wiring) -> Check:
    overview = found.statuses.overview()
    late = any(alarm.code == JOB_LATE for alarm in overview.alarms)
    last = tuple(
        f"{job.name}: {output.told(job.outcome, output.LONGEST_DETAIL)}, {output.in_words(job.finished_at)}"
        for job in overview.jobs
        if job.outcome
    )
    return Check("jobs", jobs_line(overview), "docs/runbook/job_late.md" if late else "", last)


def _quarantine(found: Wiring) -> Check:
    count = found.quarantine_desk("reader").count()
    if not count:
        return Check("quarantine", "empty")
    # Each reason is an alarm, unless somebody has cleared it.
    says = f"{output.counted(count, 'message')} could not be stored"
    return Check("quarantine", says, each=("quarantine: see `quarantine list`",))


CHECKS: dict[str, Callable[[Wiring], Check]] = {
    POSTGRES: _database,
    "schema": _schema,
    "clock": _clock,
    "OpenBao": _vault,
    "keys": _keys,
    "NATS": _bus,
    "broker": _broker,
    "logins": _logins,
    "logins of devices": doctor_fleet.logins_of_devices,
    "identities": doctor_fleet.identities,
    "jump hosts": doctor_fleet.jump_hosts,
    "processes": _processes,
    "jobs": _jobs,
    "exports": doctor_fleet.exports,
    "quarantine": _quarantine,
    "events": doctor_hook.hook,
    "alarms": doctor_fleet.alarms,
}
_APART = frozenset({POSTGRES, "OpenBao", "NATS", "broker", "logins"})  # answer without PostgreSQL
