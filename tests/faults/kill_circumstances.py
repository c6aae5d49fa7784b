"""What has to happen so that a process calls a method of which it has no need every day."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import make_url

from backupflow.core.envelope import pack, unpack
from backupflow.core.message import SnapshotMessage, encode
from backupflow.core.model import (
    CollectionId,
    ContentHash,
    DeviceId,
    NormalConfig,
    SealedConfig,
    Seq,
    TenantId,
)
from tests.acceptance.install import wait_for
from tests.faults.kill_field import DESK, HOP, HOP_LOGIN, LOGIN, PATIENCE, STEADY

if TYPE_CHECKING:
    from tests.faults.kill_field import Field

_KEPT = """
    SELECT o.* FROM content o JOIN device d ON d.id = o.device_id
    WHERE d.name = :name AND o.normalization_version = 1 AND o.first_seq > d.unreadable_to_seq AND NOT EXISTS (
        SELECT 1 FROM content x
        WHERE x.device_id = d.id AND x.normalization_version = 0 AND x.content_hash = o.content_hash)"""
_GROW_OLD = """
    WITH texts AS (UPDATE content SET normalization_version = 0, sealed = :sealed WHERE id = :id RETURNING id)
    UPDATE collection SET normalization_version = 0 WHERE content_id IN (SELECT id FROM texts)"""
DOOR = "door"  # a device that is only knocked at
ODD = STEADY[:2]  # one of each life


def answer_nonsense(field: Field) -> None:
    """Routers that answer something else than a configuration: given up, and taken again at their next turn."""
    for name in ODD:
        field.fleet[name].behave(raw_export="<html>busy</html>\r\n")


def answer_again(field: Field) -> None:
    """As ever."""
    for name in ODD:
        field.fleet[name].behave(raw_export=None)


def owe_interpretations(field: Field) -> None:
    """What was made of the changes of this life's routers counts no more."""
    field.stack.admin(
        "UPDATE collection c SET interpreted_after_seq = NULL, interpret_tries = 0, interpret_until = NULL "
        "FROM device d WHERE d.id = c.device_id AND d.name = ANY(:names) AND c.state = 'stored' AND c.is_change",
        names=list(field.of_this_life),
    )


def leave_undecided(field: Field) -> None:
    """Observations that equal the one before them, of which nobody knows yet: as after a change of the normalizer."""
    for name in field.of_this_life:
        field.await_newest(name)
    field.stack.admin(
        "UPDATE collection c SET is_change = NULL, interpret_tries = 0, interpret_until = NULL "
        "FROM device d WHERE d.id = c.device_id AND d.name = ANY(:names) AND c.state = 'stored' AND NOT c.is_change",
        names=list(field.of_this_life),
    )


def put_behind_jump_host(field: Field) -> None:
    """Routers that are reached through a jump host; it is there from the first such case on."""
    jump_host = field.fleet.jump_hosts[HOP]
    if not field.stack.rows("SELECT id FROM jump_host"):
        _told(field, "credential", "add", "jumps", "--username", HOP_LOGIN.username, "--password-stdin")
        address = (jump_host.host, "--port", str(jump_host.port))
        _told(field, "jump", "add", HOP, *address, "--profile", "jumps")
    for name in ODD:
        _told(field, "device", "edit", name, "--jump", HOP)


def put_straight(field: Field) -> None:
    """As ever."""
    for name in ODD:
        _told(field, "device", "edit", name, "--jump", "direct")


def forget_jump_host_key(field: Field) -> None:
    """The next contact is a first sight; of this life's router it is asked for."""
    field.ask_some()
    _told(field, "jump", "reset-key", HOP, "--yes")


def _told(field: Field, *argv: str) -> None:
    ended = field.command(*argv)
    assert ended.returncode == 0, ended.stderr.decode()


def forge(field: Field) -> None:
    """A message that names a true row, with sealed bytes that its collector never wrote, in each life others."""
    row = field.stack.rows(
        "SELECT c.* FROM collection c JOIN device d ON d.current_collection_id = c.id WHERE d.name = :name", name=DESK
    )[0]
    field.forged += 1
    message = SnapshotMessage(
        field.stack.tenant_id,
        DeviceId(row.device_id),
        CollectionId(row.id),
        Seq(row.seq),
        row.normalization_version,
        ContentHash(bytes(row.content_hash)),
        SealedConfig(f"vault:v1:{field.forged:08d}"),
    )
    field.send(encode(message), row.device_id)


def await_forgeries(field: Field) -> None:
    """Each of this case is in quarantine, once, with its bytes."""
    kept = "SELECT count(*) AS n FROM quarantine WHERE received_at >= :since AND payload IS NOT NULL"

    def all_kept() -> bool:
        return bool(field.stack.admin(kept, since=field.case_began_at)[0].n == field.life)

    wait_for(all_kept, f"{field.life} forged messages in quarantine", PATIENCE)


def refuse_rows(field: Field, *, always: bool = False) -> None:
    """Storing a router's rows meets what nobody foresaw and a server that goes away in turn, or `always` the former.

    In turn for each router: a batch ends at the first of its rows that is refused, and then with this row alone.
    """
    rows = field.stack.rows("SELECT id FROM device WHERE name = ANY(:odd)", odd=list(ODD))
    refused = f"'{{{','.join(str(row.id) for row in rows)}}}'"
    for row in rows:
        field.stack.admin(f'CREATE SEQUENCE "{row.id}"')
    field.stack.admin(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
        f"IF {always} OR nextval('\"' || NEW.device_id || '\"') % 2 = 1 THEN RAISE SQLSTATE 'P0001'; END IF; "
        "RAISE SQLSTATE '57P03'; END $$"
    )
    field.stack.admin(
        "CREATE TRIGGER refuse BEFORE UPDATE ON collection FOR EACH ROW "
        f"WHEN (NEW.state = 'stored' AND NEW.device_id::text = ANY({refused})) EXECUTE FUNCTION refuse()"
    )


def accept_rows(field: Field) -> None:
    """They are as good as any other."""
    field.stack.admin("DROP TRIGGER refuse ON collection")
    field.stack.admin("DROP FUNCTION refuse")
    for row in field.stack.rows("SELECT id FROM device WHERE name = ANY(:odd)", odd=list(ODD)):
        field.stack.admin(f'DROP SEQUENCE "{row.id}"')


def lose_a_message(field: Field) -> None:
    """A collector that died between the fence and the bus: a row whose message never was, older than LOST_AFTER."""
    worker = field.start("collect", "Publisher.publish:before:1")

    def died() -> bool:
        field.ask_some()
        return not worker.is_alive

    wait_for(died, "a collector to die before it published", PATIENCE)
    field.start("collect")
    time.sleep(float(field.stack.environment["CONFIG_LOST_AFTER"]) + 1)


def make_devices_due(field: Field) -> None:
    """Work that comes by itself: what is asked for is collected whatever a poller says."""
    field.forget_meetings()
    field.stack.admin("UPDATE device SET next_due_at = now() WHERE next_due_at > now()")


def silence(field: Field) -> None:
    """Nothing was heard of a device for a while, as far as its row says; something answers who knocks there.

    No simulated router: the checker counts each connection to one as a session.
    """
    if not field.stack.rows("SELECT 1 FROM device WHERE name = :name AND status = 'active'", name=DOOR):
        port = make_url(field.stack.wiring.settings.servers.database_url).port
        field.stack.add(DOOR, port or 0, LOGIN)
    field.stack.admin(
        "UPDATE device SET unreachable_since = now(), probed_at = NULL, met_at = NULL, hold_until = NULL, "
        "next_due_at = now() + interval '1 hour' WHERE name = :name AND status = 'active'",
        name=DOOR,
    )


def hear(field: Field) -> None:
    """It is gone."""
    _told(field, "device", "remove", DOOR, "--yes")


def make_jobs_due(field: Field) -> None:
    """Work for the process that keeps house."""
    field.stack.admin("UPDATE job SET due_at = now() WHERE due_at > now()")


def grow_old(field: Field) -> None:
    """What is kept of one router of this life is of a normalizer before ours, and the job is due that goes over it."""
    name = field.of_this_life[0]
    field.await_newest(name)
    wiring = field.stack.wiring
    for row in field.stack.admin(_KEPT, name=name):
        owner = TenantId(row.tenant_id), DeviceId(row.device_id)
        envelope = wiring.vault("reader").open_config(*owner, SealedConfig(row.sealed))
        header, raw = unpack(envelope, wiring.policy.max_bytes)
        older = pack((*owner, header.seq), raw, NormalConfig(b""), 0)
        sealed = wiring.vault("collector").seal_config(*owner, older).text
        field.stack.admin(_GROW_OLD, id=row.id, sealed=sealed)
    make_jobs_due(field)


def let_something_be_told(field: Field) -> None:
    """Something happened a while ago, of a code of its own: more than one event an hour is told of no other."""
    field.stack.admin(
        "INSERT INTO outbox (kind, key, payload, created_at) SELECT 'down', 'kill ' || n, "
        "jsonb_build_object('code', 'kill ' || n), now() - interval '1 minute' FROM (SELECT gen_random_uuid() AS n) x"
    )


def let_a_change_wait(field: Field) -> None:
    """What changed is sealed under a version of the key that the vault does not have."""
    field.stack.admin(
        "INSERT INTO event (id, tenant_id, kind, code, place, body, device_id, sealed) SELECT gen_random_uuid(), "
        "tenant_id, 'changed', 'changed', id, '{\"seq\": 1}', id, 'vault:v99:' || repeat('A', 80) FROM device LIMIT 1"
    )


def let_something_grow_old(field: Field) -> None:
    """Something happened long ago that nobody was told."""
    let_something_be_told(field)
    field.stack.admin("UPDATE outbox SET created_at = now() - interval '2 hours' WHERE event_id IS NULL")


def forget_what_was_told(field: Field) -> None:
    """Nothing waits, and nothing failed."""
    field.stack.admin("DELETE FROM outbox WHERE alarm_id IS NULL")
    field.stack.admin("DELETE FROM event")


def give_back_a_forgery(field: Field) -> None:
    """An operator releases from quarantine what will be refused again."""
    field.start("ingest")
    forge(field)
    _release(field)


def give_back_a_true_one(field: Field) -> None:
    """An operator releases what was refused for a defect that is mended."""
    refuse_rows(field, always=True)
    field.start("ingest")
    field.ask(field.of_this_life[0])
    _release(field)
    accept_rows(field)


def _release(field: Field) -> None:
    """As soon as something new is in quarantine; nobody ingests then."""
    waiting = "SELECT id FROM quarantine WHERE received_at >= :since AND released_at IS NULL"
    wait_for(lambda: bool(field.stack.admin(waiting, since=field.life_began_at)), "a message in quarantine", PATIENCE)
    field.end("ingest")
    for row in field.stack.admin(waiting, since=field.life_began_at):
        assert field.command("quarantine", "release", str(row.id)).returncode == 0
