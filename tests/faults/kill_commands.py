"""Commands that die in their midst: what they change, what the audit says of it, and what they are about."""

from __future__ import annotations

import time
from contextlib import suppress
from shutil import rmtree
from typing import TYPE_CHECKING

from pyrage import x25519

from backupflow.core.model import Purpose, TenantId
from backupflow.errors import Conflict, TransitKeyMissing
from backupflow.flows.ingest import check_marks
from tests.faults.kill_field import DESK, LOGIN, STEADY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tests.faults.kill_field import Field

ADDED = "added-"
TENANT = "from backupflow.wiring import wiring; wiring().make_tenant('{}')"
SHARED = "shared-"
SCRATCH = "scratch-"
ESCROW = "escrow"
RECIPIENTS = tuple(str(x25519.Identity.generate().to_public()) for _ in range(2))
SETTLE = """
from backupflow.cli.trust_question import settle_trust
from backupflow.wiring import wiring
settle_trust(wiring().devices("enroller").tenant("default"), {{"{}": 21}})
"""
_CURRENT = (
    "SELECT n.id, n.sealed FROM device d JOIN collection c ON c.id = d.current_collection_id "
    "JOIN content n ON n.id = c.content_id WHERE d.name = :name"
)


def audited(field: Field, *actions: str) -> int:
    """How many acts of these names the audit has, by commands, since the case began."""
    rows = field.stack.admin(
        "SELECT count(*) AS n FROM audit WHERE action = ANY(:actions) AND actor LIKE 'cli:%' AND at >= :since",
        actions=list(actions),
        since=field.case_began_at,
    )
    return int(rows[0].n)


def add_device(_field: Field, life: int) -> list[str]:
    """Another name and address each time: what was added stays added. Nobody answers there."""
    host = f"127.1.{life}.{time.monotonic_ns() % 250}"
    return ["device", "add", f"{ADDED}{time.monotonic_ns()}", host, "--port", "9", "--password-stdin"]


def add_without_login(_field: Field, life: int) -> list[str]:
    """Nor is there a profile that it would inherit, nor anybody to be asked."""
    return ["device", "add", f"{ADDED}{time.monotonic_ns()}", f"127.1.{life}.251", "--port", "9"]


def restore_device(field: Field, life: int) -> list[str]:
    """Of a device that was just removed; another one each time."""
    argv = add_device(field, life)
    assert field.command(*argv).returncode == 0
    assert field.command("device", "remove", argv[2], "--yes").returncode == 0
    return ["device", "restore", argv[2], "--password-stdin"]


def restored(field: Field) -> tuple[int, int]:
    """Devices that are there again, with a login, and acts."""
    return added(field)[0], audited(field, "device_restored")


def shred_tenant(field: Field, _life: int) -> list[str]:
    """Another one each time, with keys and nothing else."""
    name = f"{SCRATCH}{time.monotonic_ns()}"
    assert field.command("tenant", "add", name).returncode == 0
    return ["tenant", "remove", name, "--shred", "--yes"]


def shredded(field: Field) -> tuple[int, int]:
    """Tenants, and acts."""
    rows = field.stack.rows("SELECT count(*) AS n FROM tenant WHERE shredded_at >= :since", since=field.case_began_at)
    return int(rows[0].n), audited(field, "tenant_shredded")


def purged(field: Field) -> tuple[int, int]:
    """Whether nothing is left of it, and acts: who says it once more finds nothing."""
    left = field.stack.rows(
        "SELECT 1 FROM collection c JOIN device d ON d.id = c.device_id WHERE d.name = :d AND c.state = 'stored'",
        d=DESK,
    )
    return int(not left), audited(field, "history_purged")


def import_fleet(field: Field, life: int) -> list[str]:
    """Three devices with logins of their own, others each time; nobody answers there."""
    file = field.root / "fleet.csv"
    file.touch(0o600)
    number = time.monotonic_ns()
    rows = [f"{ADDED}{number}-{n},127.2.{life}.{number % 80 * 3 + n},9,backup,backup" for n in range(3)]
    file.write_text("\n".join(["name,host,port,username,password", *rows]))
    return ["device", "import", str(file), "--passwords-in-file"]


def added(field: Field) -> tuple[int, int]:
    """Devices with a login, and acts."""
    rows = field.stack.rows(
        "SELECT count(*) AS n FROM device d JOIN credential_profile p ON p.device_id = d.id "
        "WHERE d.name LIKE :added AND d.created_at >= :since",
        added=f"{ADDED}%",
        since=field.case_began_at,
    )
    return rows[0].n, audited(field, "device_added")


def remove_added(field: Field) -> None:
    """What was added for the case."""
    found = field.stack.rows("SELECT name FROM device WHERE name LIKE :a AND status <> 'removed'", a=f"{ADDED}%")
    for row in found:
        assert field.command("device", "remove", row.name, "--yes").returncode == 0


def add_site(field: Field, life: int) -> list[str]:
    """Another name each time; no device is placed there."""
    return ["site", "add", f"{SCRATCH}{field.case}-{life}"]


def sites(field: Field) -> tuple[int, int]:
    """Sites, and acts."""
    rows = field.stack.admin("SELECT count(*) AS n FROM site WHERE name LIKE :name", name=f"{SCRATCH}{field.case}-%")
    return rows[0].n, audited(field, "site_added")


def limit_site(field: Field, life: int) -> list[str]:
    """Another site each time, that is made here."""
    name = f"{SCRATCH}{field.case}-{life}"
    field.stack.admin("INSERT INTO site (tenant_id, name) SELECT id, :n FROM tenant WHERE name = 'default'", n=name)
    return ["site", "edit", name, "--concurrency", "3"]


def limited(field: Field) -> tuple[int, int]:
    """Sites that say something, and acts."""
    rows = field.stack.admin(
        "SELECT count(*) AS n FROM site WHERE name LIKE :name AND settings <> '{}'", name=f"{SCRATCH}{field.case}-%"
    )
    return rows[0].n, audited(field, "site_edited")


def drop_sites(field: Field) -> None:
    """Nobody needs them any more."""
    field.stack.admin("DELETE FROM site WHERE name LIKE :name", name=f"{SCRATCH}%")


def ignore_item(_field: Field, _life: int) -> list[str]:
    """Another rule each time."""
    return ["ignore", "add", f"system/note:note, {SCRATCH}{time.monotonic_ns()}"]


def ignored(field: Field) -> tuple[int, int]:
    """Rules, and acts."""
    return _rules(field), audited(field, "ignore_added")


def heed_item(field: Field, life: int) -> list[str]:
    """Remove a rule that was just added."""
    argv = ignore_item(field, life)
    assert field.command(*argv).returncode == 0
    return ["ignore", "remove", argv[2]]


def heeded(field: Field) -> tuple[int, int]:
    """Rules that were added and are not there any more, and acts."""
    return audited(field, "ignore_added") - _rules(field), audited(field, "ignore_removed")


def ignore_nothing(field: Field) -> None:
    """Nobody needs them any more."""
    field.stack.admin("DELETE FROM ignore_rule WHERE identity LIKE :name", name=f"{SCRATCH}%")


def _rules(field: Field) -> int:
    return int(field.stack.admin("SELECT count(*) AS n FROM ignore_rule")[0].n)


def enable_escrow(field: Field, life: int) -> list[str]:
    """Other recipients each time."""
    keys = [f"--recipient={RECIPIENTS[life % 2]}", "--yes"]
    return ["escrow", "enable", *keys, "--to", str(field.root / ESCROW)]


def begin_escrow(field: Field) -> None:
    """It is enabled, and its folder there."""
    if (field.root / ESCROW).is_file():
        (field.root / ESCROW).unlink()
    (field.root / ESCROW).mkdir(mode=0o700, exist_ok=True)
    assert field.command(*enable_escrow(field, 0)).returncode == 0


def lose_escrow(field: Field) -> None:
    """Enabled, and its folder gone."""
    begin_escrow(field)
    rmtree(field.root / ESCROW)


def forbid_escrow(field: Field) -> None:
    """Enabled, and its folder not to be written to by anybody: what a command asks the job for."""
    lose_escrow(field)
    (field.root / ESCROW).write_text("")


def end_escrow(field: Field) -> None:
    """Nobody writes it any more."""
    field.command("escrow", "disable", "--yes")


def escrow_enabled(field: Field) -> tuple[int, int]:
    """Who can open it is whom the newest act names."""
    (row,) = field.stack.rows(
        "SELECT e.recipients, (SELECT a.detail -> 'recipients' FROM audit a WHERE a.action = 'escrow_enabled' "
        "ORDER BY a.id DESC LIMIT 1) AS told FROM escrow e"
    )
    return int(row.recipients == row.told), 1


def disable_escrow(field: Field, _life: int) -> list[str]:
    """Enabled before each."""
    begin_escrow(field)
    return ["escrow", "disable", "--yes"]


def escrow_disabled(field: Field) -> tuple[int, int]:
    """Whether it is gone, and whether the newest act says so."""
    left = field.stack.rows("SELECT 1 FROM escrow")
    (newest,) = field.stack.admin(
        "SELECT action FROM audit WHERE action IN ('escrow_enabled', 'escrow_disabled') ORDER BY id DESC LIMIT 1"
    )
    return int(not left), int(newest.action == "escrow_disabled")


def edit_login(_field: Field, _life: int) -> list[str]:
    """New credentials, the same as before."""
    return ["device", "edit", DESK, "--username", LOGIN.username, "--password-stdin"]


def note_login(field: Field) -> None:
    """As it is sealed now."""
    field.noted = _sealed_login(field)


def edited(field: Field) -> tuple[int, int]:
    """Each run seals it anew: whether it is another, and whether the audit says so."""
    return int(_sealed_login(field) != field.noted), min(audited(field, "device_edited"), 1)


def _sealed_login(field: Field) -> str:
    rows = field.stack.admin(
        "SELECT p.sealed FROM credential_profile p JOIN device d ON d.id = p.device_id WHERE d.name = :name", name=DESK
    )
    return str(rows[0].sealed)


def paused(field: Field) -> tuple[int, int]:
    """Once paused it stays so, and that was one act."""
    status = field.stack.rows("SELECT status FROM device WHERE name = :name", name=DESK)[0].status
    return int(status == "paused"), audited(field, "device_paused")


def resume(field: Field) -> None:
    """As ever."""
    assert field.command("device", "resume", DESK).returncode == 0


def asked(field: Field) -> tuple[int, int]:
    """Requests, and acts."""
    return _asked(field, "config_backup_manual_trigger")


def forced(field: Field) -> tuple[int, int]:
    """The same by force."""
    return _asked(field, "config_backup_forced")


def _asked(field: Field, action: str) -> tuple[int, int]:
    rows = field.stack.rows(
        "SELECT count(*) AS n FROM request WHERE requested_by LIKE 'cli:%' AND requested_at >= :since",
        since=field.case_began_at,
    )
    return rows[0].n, audited(field, action)


def settle_trust(field: Field, life: int) -> list[str]:
    """Another profile each time, with a password and no word about first keys; nobody logs in with it."""
    name = f"{SHARED}{field.case}-{life}"
    field.stack.admin(
        "INSERT INTO credential_profile (tenant_id, name, username, method, sealed) "
        "SELECT id, :name, 'backup', 'password', 'vault:v1:none' FROM tenant WHERE name = 'default'",
        name=name,
    )
    return [SETTLE.format(name)]


def settled(field: Field) -> tuple[int, int]:
    """Profiles that say something, and acts."""
    rows = field.stack.admin(
        "SELECT count(*) AS n FROM credential_profile WHERE name LIKE :shared AND settings ? 'trust'",
        shared=f"{SHARED}{field.case}-%",
    )
    return rows[0].n, audited(field, "credential_trust_settled")


def drop_shared(field: Field) -> None:
    """Nobody needs them any more."""
    field.stack.admin("DELETE FROM credential_profile WHERE name LIKE :shared", shared=f"{SHARED}%")


def export_to_file(field: Field, name: str, *options: str) -> list[str]:
    """To a file that is not there yet."""
    field.file.unlink(missing_ok=True)
    return ["export", name, *options, "-o", str(field.file)]


def read(field: Field) -> tuple[int, int]:
    """Whoever has a configuration in the hand is written down; not each who is written down has it."""
    has = field.file.exists()
    return int(has), int(has and audited(field, "config_exported", "aside_exported") > 0)


def damage(field: Field) -> None:
    """Another device's sealed bytes in the place of the ones that are exported."""
    own, other = (field.stack.admin(_CURRENT, name=name)[0] for name in (DESK, STEADY[0]))
    field.noted = own.sealed
    field.stack.admin("UPDATE content SET sealed = :sealed WHERE id = :id", sealed=other.sealed, id=own.id)


def mend_damage(field: Field) -> None:
    """The true ones, and the alarm, which was raised once, cleared by whoever looked."""
    own = field.stack.admin(_CURRENT, name=DESK)[0]
    field.stack.admin("UPDATE content SET sealed = :sealed WHERE id = :id", sealed=field.noted, id=own.id)
    standing = field.stack.rows("SELECT id FROM alarm WHERE code = 'snapshot_damaged' AND cleared_at IS NULL")
    assert len(standing) == 1
    assert field.command("alarm", "clear", str(standing[0].id)).returncode == 0


def seal_beyond(field: Field) -> None:
    """A text that names a version which the key does not have: it may have been moved since it was read."""
    own = field.stack.admin(_CURRENT, name=DESK)[0]
    field.noted, (_, _, rest) = own.sealed, own.sealed.split(":")
    field.stack.admin("UPDATE content SET sealed = :sealed WHERE id = :id", sealed=f"vault:v999:{rest}", id=own.id)


def seal_as_before(field: Field) -> None:
    """No alarm was raised: whether keys or texts are to blame is not known then."""
    own = field.stack.admin(_CURRENT, name=DESK)[0]
    field.stack.admin("UPDATE content SET sealed = :sealed WHERE id = :id", sealed=field.noted, id=own.id)


def make_tenant(field: Field, _life: int) -> list[str]:
    """What the set-up does, for one more tenant."""
    return [TENANT.format(spare(field))]


def spare(field: Field) -> str:
    """A tenant of this case's own, whose keys nobody needs."""
    return f"spare-{field.case}"


def rewrap(field: Field, _life: int) -> list[str]:
    """There are older versions each time."""
    assert field.command("keys", "rotate").returncode == 0
    return ["keys", "rewrap", "--retire", "--wait", "60s"]


def reopen(field: Field, life: int) -> list[str]:
    """There is something retired each time."""
    assert field.command(*rewrap(field, life)).returncode == 0
    return ["keys", "reopen"]


def make_spare(field: Field) -> None:
    """With its keys."""
    field.stack.wiring.make_tenant(spare(field))


def renew(field: Field, _life: int) -> list[str]:
    """The keys are lost each time, unless they still are."""
    wiring = field.stack.wiring
    tenant_id, _ = wiring.keys("operator").tenant(spare(field))
    with suppress(TransitKeyMissing):
        _check(field, tenant_id)
        wiring.vault("provisioner").delete_keys(TenantId(tenant_id))
    return ["keys", "renew", "--lost", "--tenant", spare(field), "--confirm", spare(field)]


def renew_and_adopt(field: Field, life: int) -> list[str]:
    """Whatever there is by now."""
    return [*renew(field, life), "--adopt"]


def renew_others(field: Field, life: int) -> list[str]:
    """There are other keys under the names of the lost ones: refused."""
    argv = renew(field, life)
    tenant_id, _ = field.stack.wiring.keys("operator").tenant(spare(field))
    with suppress(Conflict):  # they are there since the last time
        field.stack.wiring.vault("provisioner").make_keys(TenantId(tenant_id))
    return argv


def renew_at_last(field: Field) -> None:
    """With the word that takes them."""
    assert field.command(*renew(field, 0), "--adopt").returncode == 0
    keys_answer(field)


def keys_answer(field: Field) -> None:
    """Every tenant's keys are the ones whose canaries were kept, whatever died before."""
    marks = _check(field)
    assert len(marks) % len(Purpose) == 0


def _check(field: Field, tenant_id: UUID | None = None) -> Mapping[tuple[TenantId, Purpose], str]:
    wiring = field.stack.wiring

    def marks() -> Mapping[tuple[TenantId, Purpose], str]:
        return {key: mark for key, mark in wiring.keys("scheduler").all_marks().items() if tenant_id in {None, key[0]}}

    check_marks(wiring.vault("scheduler"), marks(), marks)
    return marks()
