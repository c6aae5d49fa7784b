"""How each port's method comes to be called: by which process or command, and what has to happen for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backupflow.wiring.kill_points import methods
from tests.faults import kill_circumstances as circumstances
from tests.faults import kill_commands as commands
from tests.faults.kill_field import DESK, DOUBTED, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def nothing(_field: Field) -> None:
    """Nothing has to be done."""


@dataclass(frozen=True)
class Served:
    """Called by a process of the install at its work.

    `begin` goes before the first life, `ready` before each: nobody of the process's kind runs then. `provoke` is done
    again and again while a life lasts, `mend` when the last has begun, which does not die. `nth`: of the calls of one
    life. `slow`: too slow for a sample.
    """

    process: str
    begin: Callable[[Field], None] = nothing
    ready: Callable[[Field], None] = Field.ask_some
    provoke: Callable[[Field], None] = Field.ask_some
    mend: Callable[[Field], None] = nothing
    nth: int = 1
    slow: bool = False
    environment: tuple[tuple[str, str], ...] = ()  # of those that die


@dataclass(frozen=True)
class Commanded:
    """Called by a command that is run as a process; `life` numbers its runs, from 1.

    `acts` gives what the command has changed so far, and what the audit says of it: the same, at any time.
    `again`: how it ends when it is run once more after it died. `slow`: too slow for a sample.
    """

    argv: Callable[[Field, int], list[str]]
    acts: Callable[[Field], tuple[int, int]] = lambda _: (0, 0)
    begin: Callable[[Field], None] = nothing
    mend: Callable[[Field], None] = nothing
    again: int = 0
    slow: bool = False
    program: tuple[str, ...] = ("-m", "backupflow")


Situation = Served | Commanded


BEAT: Final = Served("beat")
COLLECT: Final = Served("collect")
JUMP: Final = Served("collect", begin=circumstances.put_behind_jump_host, mend=circumstances.put_straight, slow=True)
INGEST: Final = Served("ingest", ready=Field.await_published, provoke=nothing)  # more would keep the stream busy
INTERPRET: Final = Served("interpret", ready=circumstances.owe_interpretations, provoke=nothing)
MAINTAIN: Final = Served("maintain", ready=circumstances.make_jobs_due, provoke=circumstances.make_jobs_due)
KNOCK: Final = Served(
    "status", ready=circumstances.silence, provoke=circumstances.silence, mend=circumstances.hear, slow=True
)
TELL: Final = Served(
    "maintain",
    ready=circumstances.let_something_be_told,
    provoke=circumstances.let_something_be_told,
    mend=circumstances.forget_what_was_told,
    environment=(("CONFIG_ON_EVENT", "true"),),
)
EDIT: Final = Commanded(commands.edit_login, commands.edited, commands.note_login)
EXPORT: Final = Commanded(lambda field, _: commands.export_to_file(field, DESK), commands.read)
IMPORT: Final = Commanded(commands.import_fleet, commands.added, mend=commands.remove_added)
ESCROW: Final = Commanded(
    lambda _field, _life: ["escrow", "run"], begin=commands.begin_escrow, mend=commands.end_escrow
)
RESTORE: Final = Commanded(commands.restore_device, commands.restored, mend=commands.remove_added)
SEARCH: Final = Commanded(lambda _field, _life: ["search", "address"])
LIST: Final = Commanded(lambda _field, _life: ["snapshots", DESK])

REWRAP: Final = Commanded(commands.rewrap, mend=commands.keys_answer, slow=True)
RENEW: Final = Commanded(commands.renew, begin=commands.make_spare, mend=commands.keys_answer, slow=True)

# Nobody calls these; who begins to has to say how.
UNCALLED: Final = {"Rewrapper.rewrap"}
# Of a port, or of one method, which comes first.
SITUATIONS: Final[Mapping[str, tuple[Situation, ...]]] = {
    "Collector": (COLLECT,),
    "Collector.handshake": (replace(COLLECT, ready=Field.scan_some, provoke=Field.scan_some),),
    "Session": (COLLECT,),
    "Reader": (COLLECT,),
    "Sealer": (COLLECT,),
    "ConfigOpener.open_config": (EXPORT,),
    "ConfigOpener.open_configs": (SEARCH,),
    "SecretOpener.open_login": (COLLECT,),
    "SecretOpener.open_pepper": (COLLECT, EXPORT),
    "SecretSealer": (EDIT,),
    "SecretSealer.seal_logins": (IMPORT,),
    "Canary": (BEAT, INGEST),
    "KeyMaker": (RENEW,),
    # Cut off before it is written down whose the key is: a person says that it is to be used.
    "KeyMaker.make_key": (
        Commanded(commands.renew_and_adopt, begin=commands.make_spare, mend=commands.keys_answer, slow=True),
    ),
    "KeyMaker.make_keys": (Commanded(commands.make_tenant, mend=commands.keys_answer, program=("-c",)),),
    "KeyKeeper": (REWRAP,),
    "KeyKeeper.rotate": (Commanded(lambda _field, _life: ["keys", "rotate"], mend=commands.keys_answer),),
    "KeyStore": (REWRAP,),
    "KeyStore.reopen": (replace(REWRAP, argv=commands.reopen),),
    "SealedStore": (REWRAP,),
    "SealedStore.stock": (Commanded(lambda _field, _life: ["keys", "show"]),),
    "RenewalStore": (RENEW,),
    "RenewalStore.made": (
        Commanded(commands.renew_others, begin=commands.make_spare, mend=commands.renew_at_last, again=77),
    ),
    "Publisher": (COLLECT,),
    "Inbox": (INGEST,),
    "Inbox.later": (replace(INGEST, begin=circumstances.refuse_rows, mend=circumstances.accept_rows, slow=True),),
    "BusGauge": (BEAT,),
    "ClaimStore": (replace(BEAT, nth=3),),  # the first ticks know nothing yet of vault and bus, and claim nothing
    "CollectionStore": (COLLECT,),
    "CollectionStore.pin": (replace(COLLECT, ready=Field.forget_key),),
    "CollectionStore.pin_jump_host": (replace(JUMP, ready=circumstances.forget_jump_host_key),),
    "CollectionStore.jump_login_allowed": (JUMP,),
    "CollectionStore.jump_host_reached": (JUMP,),
    "CollectionStore.end": (replace(COLLECT, begin=circumstances.answer_nonsense, mend=circumstances.answer_again),),
    "ObservationStore": (INGEST,),
    "ObservationStore.lose_published": (replace(INGEST, begin=circumstances.lose_a_message, slow=True),),
    "Interpreter": (INTERPRET,),
    "InterpretationStore": (INTERPRET,),
    "InterpretationStore.waits": (replace(INTERPRET, ready=nothing),),
    "InterpretationStore.give_back": (
        replace(INTERPRET, environment=(("OPENBAO_ADDR", "http://127.0.0.1:1"),)),  # where no vault answers
    ),
    "InterpretationStore.unchanged": (replace(INTERPRET, ready=circumstances.leave_undecided),),
    "QuarantineStore": (INGEST,),
    "QuarantineStore.set_aside": (replace(INGEST, ready=circumstances.forge, mend=circumstances.await_forgeries),),
    "QuarantineStore.taken": (replace(INGEST, ready=circumstances.give_back_a_true_one, slow=True),),
    "QuarantineStore.put_back": (replace(INGEST, ready=circumstances.give_back_a_forgery, slow=True),),
    "GaugeStore": (replace(BEAT, environment=(("CONFIG_METRICS_LISTEN", "127.0.0.1:0"),)),),
    "Presence": (BEAT,),
    "KnockStore": (KNOCK,),
    "Knocker": (KNOCK,),
    "Presence.offline": (replace(BEAT, provoke=circumstances.make_devices_due),),
    "Broker": (replace(BEAT, nth=3),),
    "KeyLedger": (BEAT,),
    "HouseStore": (MAINTAIN,),
    "DeviceStore.find": (EDIT,),
    "DeviceStore.profile_for": (Commanded(commands.add_without_login, again=2),),
    "DeviceStore.look": (Commanded(commands.add_device, commands.added, mend=commands.remove_added),),
    "DeviceStore.add": (Commanded(commands.add_device, commands.added, mend=commands.remove_added),),
    "DeviceStore.change": (
        Commanded(lambda _field, _life: ["device", "pause", DESK], commands.paused, mend=commands.resume),
    ),
    "DeviceStore.find_removed": (RESTORE,),
    "DeviceStore.restore": (RESTORE,),
    "FleetStore": (IMPORT,),
    "FleetStore.candidates": (
        Commanded(
            lambda _field, _life: ["device", "pause", "--where", f"name={DESK}", "--yes"],
            commands.paused,
            mend=commands.resume,
        ),
    ),
    "ScopeStore.find": (Commanded(lambda _field, _life: ["tenant", "show", "default"]),),
    "ScopeStore.every": (Commanded(lambda _field, _life: ["tenant", "list"]),),
    "ScopeStore.add": (Commanded(commands.add_site, commands.sites, mend=commands.drop_sites),),
    "ScopeStore.change": (Commanded(commands.limit_site, commands.limited, mend=commands.drop_sites),),
    "SnapshotStore.runs": (LIST,),
    "SnapshotStore.asides": (LIST,),
    "SnapshotStore.read": (EXPORT,),
    "SnapshotStore.again": (replace(EXPORT, begin=commands.seal_beyond, mend=commands.seal_as_before, again=69),),
    "SnapshotStore.read_aside": (
        Commanded(lambda field, _: commands.export_to_file(field, DOUBTED, "--aside"), commands.read),
    ),
    "TimelineStore.history": (Commanded(lambda _field, _life: ["history", DESK]),),
    "TimelineStore.fleet": (Commanded(lambda _field, _life: ["history", "--all"]),),
    "TimelineStore.change": (Commanded(lambda _field, _life: ["diff", DESK]),),
    "TimelineStore.snapshot": (Commanded(lambda _field, _life: ["show", DESK]),),
    "TimelineStore.components": (Commanded(lambda _field, _life: ["history", DESK, "--component", "ip/nosuch"]),),
    "TimelineStore.leads": (Commanded(lambda _field, _life: ["diff", DESK, "now", "now"]),),
    "TimelineStore.reveal": (Commanded(lambda _field, _life: ["show", DESK, "--reveal"]),),
    "SearchStore": (SEARCH,),
    "NoiseStore": (Commanded(lambda _field, _life: ["ignore", "suggest"]),),
    "IgnoreStore.rules": (Commanded(lambda _field, _life: ["ignore", "list"]),),
    "IgnoreStore.add": (Commanded(commands.ignore_item, commands.ignored, mend=commands.ignore_nothing),),
    "IgnoreStore.remove": (Commanded(commands.heed_item, commands.heeded, mend=commands.ignore_nothing),),
    "VerifyStore": (Commanded(lambda _field, _life: ["verify", "--device", DESK]),),
    "EscrowStore": (ESCROW,),
    "EscrowStore.enable": (
        Commanded(
            commands.enable_escrow, commands.escrow_enabled, begin=commands.begin_escrow, mend=commands.end_escrow
        ),
    ),
    "EscrowStore.disable": (Commanded(commands.disable_escrow, commands.escrow_disabled, mend=commands.end_escrow),),
    "EscrowStore.failed": (replace(ESCROW, begin=commands.lose_escrow, again=1),),
    "EscrowStore.ask": (replace(ESCROW, begin=commands.forbid_escrow),),
    "EscrowFolder": (ESCROW,),
    "EscrowFolder.fit": (replace(ESCROW, argv=commands.enable_escrow),),
    "CompactingStore": (MAINTAIN,),
    "RenormalizeStore": (replace(MAINTAIN, ready=circumstances.grow_old),),
    "ReinterpretStore": (Commanded(lambda _field, _life: ["reinterpret", DESK]),),
    "PurgeStore.kept": (Commanded(lambda _field, _life: ["purge", DESK, "--before", "1", "--yes"], again=66),),
    "PurgeStore.purge": (
        Commanded(lambda _field, _life: ["purge", DESK, "--all", "--yes"], commands.purged, again=66, slow=True),
    ),
    "PurgeStore": (Commanded(commands.shred_tenant, commands.shredded),),
    "KeyMaker.delete_keys": (Commanded(commands.shred_tenant, commands.shredded),),
    "RetentionStore": (Commanded(lambda _field, _life: ["retention", "run", "--yes"]),),
    "WatchStore": (MAINTAIN,),
    "TrustStore": (Commanded(commands.settle_trust, commands.settled, mend=commands.drop_shared, program=("-c",)),),
    "AlarmBell": (replace(EXPORT, begin=commands.damage, mend=commands.mend_damage, again=65),),
    "EventStore": (TELL,),
    "EventStore.failed": (replace(TELL, environment=(("CONFIG_ON_EVENT", "false"),)),),
    "EventStore.postpone": (
        replace(TELL, ready=circumstances.let_a_change_wait, provoke=circumstances.let_a_change_wait),
    ),
    "EventStore.forget": (
        replace(
            TELL,
            ready=circumstances.let_something_grow_old,
            provoke=circumstances.let_something_grow_old,
            environment=(),
        ),
    ),
    "Hook": (TELL,),
    "RequestStore": (Commanded(lambda _field, _life: ["backup", DESK], commands.asked),),
    "RequestStore.force": (Commanded(lambda _field, _life: ["backup", DESK, "--force"], commands.forced),),
}


@dataclass(frozen=True)
class Case:
    """One row of the matrix."""

    method: str
    when: str
    times: int
    situation: Situation

    def __str__(self) -> str:
        return f"{self.method}-{self.when}-{'once' if self.times == 1 else 'twice'}-{self.place}"

    @property
    def is_quick(self) -> bool:
        """Whether it may be in a sample."""
        return not self.situation.slow

    @property
    def kills_collectors(self) -> bool:
        """Whether one may die between the fence and the bus."""
        return self.place == "collect" or self.method in {"ObservationStore.lose_published", "QuarantineStore.taken"}

    @property
    def place(self) -> str:
        """Who dies: a process of the install, or a command."""
        return self.situation.process if isinstance(self.situation, Served) else "command"


def situations_of(method: str) -> tuple[Situation, ...]:
    """The ways to a method; none, if nobody has said one."""
    return SITUATIONS.get(method) or SITUATIONS.get(method.partition(".")[0], ())


def cases() -> Iterator[Case]:
    """All methods, before and after, once and twice."""
    for method in methods():
        for situation in situations_of(method):
            for when in ("before", "after"):
                for times in (1, 2):
                    yield Case(method, when, times, situation)
