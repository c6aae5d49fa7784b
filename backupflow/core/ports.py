"""What the flows ask of the outside world, as Protocols; adapters answer, wiring brings them together.

Every method may raise the errors of `backupflow.errors` that its part of the world can cause, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from backupflow.core.model import TrustedHow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta
    from uuid import UUID

    from backupflow.core.delivery import Answer, Event, Failed
    from backupflow.core.driver import Asking, Incomplete, Reading, Reply
    from backupflow.core.escrow import Escrow
    from backupflow.core.escrow_files import Held as HeldConfig
    from backupflow.core.escrow_files import Written
    from backupflow.core.figures import Figures
    from backupflow.core.fleet import Candidate, CarriedOut, Orders
    from backupflow.core.gathering import Gathered, Happened, Key
    from backupflow.core.history import Aside, Run, SealedSnapshot
    from backupflow.core.ignoring import Noisy, Place, Rule, StandingRule
    from backupflow.core.importing import Fleet
    from backupflow.core.interpretation import Answer as Interpreted
    from backupflow.core.interpretation import Enclosed, Interpretation, Owed, Question
    from backupflow.core.inventory import DeviceLogin, DeviceRecord, NewDevice, Placement, Update
    from backupflow.core.jump import Via
    from backupflow.core.keys import Held, Item, KeyRecord, KeyVersions, Renewal, Renewed, Stock
    from backupflow.core.knocking import Knock
    from backupflow.core.ledger import Assignment, Claimed, Ending, Kind, Limits, Published, Stored, Withdrawn
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import (
        Claim,
        CollectionId,
        DeviceId,
        HostKey,
        Login,
        Pepper,
        Purpose,
        Sealed,
        SealedConfig,
        SealedSecret,
        Seq,
        Target,
        TenantId,
        Trust,
    )
    from backupflow.core.overview import Asked, Within
    from backupflow.core.quarantine import Released, SetAside
    from backupflow.core.renormalizing import Old, Rehashed, Rewritten
    from backupflow.core.retaining import Age, Aged, Cut, Doomed, Holding, Taken
    from backupflow.core.retaining import Kept as KeptRun
    from backupflow.core.scopes import Acted, NewScope, Record, ScopeKind, ScopeUpdate
    from backupflow.core.searching import Candidate as ToSearch
    from backupflow.core.searching import Cursor, Extent, Search
    from backupflow.core.timeline import Entry, FleetHistory, History, Owner
    from backupflow.core.timeline import Wanted as ChangesWanted
    from backupflow.core.trust import SharedLogin
    from backupflow.core.verification import Due, Flaw, Kept, Keyless, Sight, Standing, Wanted
    from backupflow.core.watching import Tellings, Watched
    from backupflow.errors import BackupflowError


# --- the device ------------------------------------------------------------------------------------------------


class Session(Protocol):
    """A logged-in SSH session."""

    @property
    def modern(self) -> bool:
        """Whether nothing with SHA-1 or CBC was agreed on."""
        ...

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Run one exec command and read both streams to EOF, under the target's byte cap and deadline.

        `within` is for a command that needs less time than an export.
        """
        ...


class Collector(Protocol):
    """Opens sessions: TCP, key exchange, `admit` the offered key, ask for the `login`, authenticate once."""

    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> AbstractContextManager[Session]:
        """Open a session, through a jump host if `via` names one. `admit` raises to refuse the device's key.

        It has committed the pin when it returns (I6). What `via` raises passes unchanged, but for a refused key:
        JumpHostUnreachable and JumpHostBlocked have as their cause what was met at the jump host.
        """
        ...

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """The host key that a device shows, as a session would be shown it: nothing about a login is sent there."""
        ...


class Reader(Protocol):
    """Lets a driver read what a session answered, in bounded time and memory, and beside the sessions of others."""

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """What `Driver.read` gives; NotAConfiguration if it takes longer, or more memory, than any real export."""
        ...


class Interpreter(Protocol):
    """Compares two exports, in bounded time and memory, whatever they are made of."""

    def answer(self, question: Question) -> Interpreted:
        """What core.interpreting gives; of kind `unread` if it takes longer, or more memory, than any real export."""
        ...


# --- the vault -------------------------------------------------------------------------------------------------


class Sealer(Protocol):
    """The one maker of sealed configurations."""

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Seal an envelope for its device."""
        ...


class ConfigOpener(Protocol):
    """Opens what was sealed for a device."""

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Give back the envelope; MessageMalformed if it was sealed for another device or was altered."""
        ...

    def open_configs(
        self, tenant_id: TenantId, configs: Sequence[tuple[DeviceId, SealedConfig]]
    ) -> Sequence[bytes | BackupflowError]:
        """The same of many: for each its envelope, or why it does not open; raises what is wrong with all of them."""
        ...


class SecretOpener(Protocol):
    """Opens logins and peppers."""

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Give back the secret part of a login, sealed for its profile or device."""
        ...

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Give back the tenant's pepper."""
        ...


class SecretSealer(Protocol):
    """Seals logins."""

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """Seal the secret part of a login for its profile or device."""
        ...

    def seal_logins(self, tenant_id: TenantId, secrets: Sequence[tuple[UUID, bytes]]) -> Sequence[SealedSecret]:
        """The same of many, each for the profile or device beside it; all or none. At most 100."""
        ...


class Canary(Protocol):
    """Answers whether the vault still has the keys that it had."""

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """The HMAC of a fixed text under that version of the key; TransitKeyMissing if there is none."""
        ...


class KeyMaker(Protocol):
    """Makes a new tenant's keys; never again for one that has them."""

    def make_keys(self, tenant_id: TenantId) -> SealedSecret:
        """Make the three derived keys and give back a new sealed pepper."""
        ...

    def make_key(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """Make one of them; one that is there stays what it is."""
        ...

    def new_pepper(self, tenant_id: TenantId) -> SealedSecret:
        """A new sealed pepper."""
        ...

    def delete_keys(self, tenant_id: TenantId) -> None:
        """Shred a tenant: nothing that was sealed for it opens ever again. Keys that are gone are no error."""
        ...


class Rewrapper(Protocol):
    """Moves a ciphertext to the newest key version without opening it."""

    def rewrap(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> Sealed:
        """The same plaintext under the newest version."""
        ...


class KeyKeeper(Canary, Protocol):
    """Adds versions to keys, moves ciphertexts to them, and retires older ones; opens nothing."""

    def key(self, tenant_id: TenantId, purpose: Purpose) -> KeyVersions | None:
        """A key's versions, None if there is none of its name; VaultUnavailable if that cannot be told."""
        ...

    def rewrap_all(
        self, tenant_id: TenantId, purpose: Purpose, batch: Sequence[tuple[UUID, Sealed]]
    ) -> Sequence[Sealed | BackupflowError]:
        """For each (context, text) its new text under the newest version, or why there is none."""
        ...

    def rotate(self, tenant_id: TenantId, purpose: Purpose) -> int:
        """Add a version; its number."""
        ...

    def retire(self, tenant_id: TenantId, purpose: Purpose, version: int) -> None:
        """Open nothing any more that is sealed under older versions; none is deleted, 1 opens them all again."""
        ...


# --- the bus ---------------------------------------------------------------------------------------------------


class Publisher(Protocol):
    """Publishes sealed observations."""

    def publish(self, message: SnapshotMessage) -> bool:
        """True: the stream has it. False: nobody knows.

        Raises BusUnavailable for a definite refusal,
        OutputTooLarge for what it could never take.
        """
        ...


class Delivery(Protocol):
    """A message as the stream delivered it."""

    @property
    def payload(self) -> bytes:
        """The bytes as they came, not yet trusted."""
        ...

    @property
    def subject(self) -> str:
        """Where it was published."""
        ...


class Inbox(Protocol):
    """The durable consumer."""

    def fetch(self) -> Sequence[Delivery]:
        """The next batch, of bounded count and bytes; empty if nothing came within a short wait."""
        ...

    def acknowledge(self, delivery: Delivery) -> None:
        """Done with it, for good; returns when the server has said so."""
        ...

    def later(self, delivery: Delivery, wait: timedelta) -> None:
        """Deliver it again, not before `wait` is over."""
        ...

    def newest(self) -> int:
        """The number of the newest message that the stream ever took; 0: none."""
        ...

    def drained(self, upto: int | None = None) -> bool:
        """Whether all messages up to that number were acknowledged; None: all that there are."""
        ...

    def make_sure(self) -> bool:
        """Make stream and consumer if they are missing; True if one had to be made."""
        ...


class BusGauge(Protocol):
    """What beat asks of the bus before it claims."""

    def room(self) -> int:
        """Bytes that the stream still takes; BusUnavailable if it does not answer."""
        ...


# --- the ledger ------------------------------------------------------------------------------------------------


class ClaimStore(Protocol):
    """The scheduler's view: one transaction claims what is due."""

    def claim(self, limits: Limits) -> Claimed | None:
        """Requests first, then due devices, within the limits; None if another beat holds the lock."""
        ...


class CollectionStore(Protocol):
    """The collector's view of one collection."""

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """claimed -> running with a lease, or -> withdrawn; None if there is no such claim any more."""
        ...

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """Commit a first-seen key; raises if the lease is gone, or address or pinned key are others meanwhile."""
        ...

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """Whether device, address and login are still to be used, and `key` still pinned: right before it is sent."""
        ...

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """Commit the first key of the jump host on the way; raises like `pin`."""
        ...

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """Whether the jump host's address and login are still to be used, and `key` still pinned there."""
        ...

    def jump_host_reached(self, assignment: Assignment) -> None:
        """A session has passed the jump host: whatever trouble it was in is over, but for a block."""
        ...

    def publish(self, assignment: Assignment, published: Published) -> bool:
        """running -> published: the fence. False: the lease is gone, what was read must be dropped."""
        ...

    def end(self, assignment: Assignment, ending: Ending) -> Ending | None:
        """running (or published, after a definite refusal) -> a final state, with what follows for the device.

        What was written, which may be another ending than was asked for: an operator's act meanwhile, or what other
        devices say of a login, may have taken the device's part. None: the lease is gone.
        """
        ...


class ObservationStore(Protocol):
    """The ingester's view."""

    def store(self, batch: Sequence[SnapshotMessage]) -> Sequence[Stored]:
        """One transaction: every message against its row, content once, changes recomputed."""
        ...

    def lose_published(self, older_than: timedelta) -> int:
        """published -> lost for what the bus does not have any more; how many."""
        ...

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> dict[tuple[TenantId, Purpose], str]:
        """The canaries of those whose rows these messages name, as they were when the keys were made."""
        ...


class InterpretationStore(Protocol):
    """The interpreter's view: what is due is a query, and nothing that is left undone is lost."""

    def take(self, without: Sequence[TenantId] = ()) -> Owed | None:
        """Lease the next change, and count the try; what is of a tenant in `without` waits. None: there is none."""
        ...

    def waits(self) -> bool:
        """Whether anything is to be interpreted, also what somebody has taken."""
        ...

    def let_go(self) -> int:
        """Look at devices that have flapped for a day (core.flapping); how many do no more."""
        ...

    def give_back(self, owed: Owed) -> None:
        """It was not its fault: let the next one have it at once, and count nothing."""
        ...

    def write(self, owed: Owed, found: Interpretation, enclosed: Enclosed) -> bool:
        """Record what it is, and what is to be told; False if it is another one's by now, or follows another one."""
        ...

    def unchanged(self, owed: Owed) -> bool:
        """Record that it is no change after all, which only its text could tell; False as above."""
        ...


class IgnoreStore(Protocol):
    """The enroller's view of what is not told; each act with its audit row in one transaction."""

    def rules(self, tenant_id: TenantId) -> Sequence[StandingRule]:
        """All of a tenant."""
        ...

    def add(self, tenant_id: TenantId, place: Place, rule: Rule, actor: str) -> bool:
        """Let it stand; False if it does already. NotFound if there is no such device or group."""
        ...

    def remove(self, tenant_id: TenantId, place: Place, rule: Rule, actor: str) -> bool:
        """Let it stand no more; False if it does not. NotFound if there is no such device or group."""
        ...


class NoiseStore(Protocol):
    """The reader's view of what changes nearly every time."""

    def noisy(self, tenant_id: TenantId, place: Place) -> Sequence[Noisy]:
        """Changes of which some part came nearly every time; NotFound if there is no such device or group."""
        ...


class QuarantineStore(Protocol):
    """The ingester's view of what could not be stored."""

    def set_aside(self, delivery: Delivery, reason: str) -> SetAside:
        """Keep the bytes in quarantine, as far as there is room, and raise an alarm."""
        ...

    def released(self, after: int, limit: int) -> Sequence[Released]:
        """What operators gave back to be judged once more, by number, those above `after`."""
        ...

    def taken(self, released: Released) -> None:
        """It is stored, or done with: away with it."""
        ...

    def put_back(self, released: Released, reason: str) -> SetAside:
        """It is refused again: keep it, with this reason."""
        ...


class Presence(Protocol):
    """What somebody's poller says of devices."""

    def offline(self, devices: Sequence[DeviceId]) -> Collection[DeviceId]:
        """Those of them that it says are not online; never raises, and never takes longer than some 0.3 s."""
        ...

    def without_ttl(self) -> Sequence[DeviceId]:
        """Some of those of which something is said for ever, which therefore does not count."""
        ...

    def failure(self) -> str:
        """Why nobody can be asked at the moment, by the name of an error; empty: somebody can."""
        ...


class KnockStore(Protocol):
    """The status task's view: devices that did not answer."""

    def take(self) -> Sequence[Knock]:
        """Those to be knocked at now, which is written down as a connection to each; of bounded number."""
        ...

    def answered(self, devices: Mapping[DeviceId, timedelta]) -> int:
        """Let these be due after so long, if that is sooner; how many are."""
        ...


class Knocker(Protocol):
    """Whether an address answers."""

    def answering(self, knocks: Sequence[Knock]) -> Collection[DeviceId]:
        """Knock at all of them; those that answered in time."""
        ...


class Broker(Protocol):
    """How beat hands out work."""

    def emit(self, claims: Sequence[Claim]) -> int:
        """Send a task per claim; how many went out. Never raises: what did not go is emitted again later."""
        ...


class KeyLedger(Protocol):
    """What the keys of all tenants must answer."""

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """The canary of each key of each tenant."""
        ...


class KeyStore(Protocol):
    """What is known of a tenant's keys, for who works on them."""

    def alone(self, tenant_id: TenantId) -> AbstractContextManager[None]:
        """Nobody else works on this tenant's keys meanwhile; Conflict if somebody does."""
        ...

    def records(self, tenant_id: TenantId) -> Mapping[Purpose, KeyRecord]:
        """Each key as it is known; empty if the tenant has none."""
        ...

    def record(self, tenant_id: TenantId, actor: str, action: str, detail: Mapping[str, Any]) -> None:
        """Write down what is about to be done in the vault."""
        ...

    def remark(self, tenant_id: TenantId, purpose: Purpose, old: str, new: str) -> None:
        """Let a canary be another one, of now; Conflict if it is not `old`."""
        ...

    def close(self, tenant_id: TenantId, versions: Mapping[Purpose, int], actor: str) -> Sequence[str]:
        """Take in nothing older any more, with its audit row; or why not yet: older ones are left, or under way."""
        ...

    def reopen(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """Take in what is sealed under any version again."""
        ...


class SealedStore(Protocol):
    """Every sealed text of a tenant, wherever it lies."""

    def stock(self, tenant_id: TenantId) -> Sequence[Stock]:
        """How many there are of each kind and version."""
        ...

    def left(self, tenant_id: TenantId, held: Held, newest: int, after: int | UUID | None) -> Sequence[Item]:
        """The next ones by key that are not under the newest version, of bounded number and bytes."""
        ...

    def count_left(self, tenant_id: TenantId, newest: Mapping[Purpose, int]) -> int:
        """How many of all kinds are not."""
        ...

    def replace(self, pairs: Sequence[tuple[Item, str]]) -> int:
        """Exchange each for its new text, unless it is another one by now; how many were exchanged."""
        ...


class RenewalStore(Protocol):
    """What follows when keys are given up."""

    def made(self, tenant_id: TenantId) -> Mapping[Purpose, str]:
        """The marks of keys that an earlier renewal has made and not come to use, since it was cut off."""
        ...

    def renew(self, renewal: Renewal, actor: str) -> Renewed:
        """Write all that follows in one transaction; Conflict if a canary is not the one any more that was lost."""
        ...


class HouseStore(Protocol):
    """The view of the jobs."""

    def mend(self) -> Mapping[str, int]:
        """Mend what disagrees and nobody works on; how many of each kind."""
        ...

    def turn(self, job: str) -> AbstractContextManager[bool]:
        """Nobody else runs it meanwhile; False if somebody does, or has finished what was claimed."""
        ...

    def finished(self, job: str, outcome: str, again_in: timedelta | None = None) -> None:
        """Record that a job ran, and when it is due again; None: it is done, and due at its next turn."""
        ...


class WatchStore(Protocol):
    """What the job `watch` sees and settles."""

    def look(self) -> Watched:
        """Which devices are late, and whether the slots suffice."""
        ...

    def settle(self, told: Tellings) -> int:
        """Let these alarms stand and no others of their codes; how many of devices and sites do."""
        ...


class GaugeStore(Protocol):
    """What monitoring is told of the whole install."""

    def look(self, *, devices: bool = False) -> Figures:
        """All figures of one moment; `devices`: those of each device too."""
        ...


class RetentionStore(Protocol):
    """What taking old configurations away sees of the ledger."""

    def before(self, days: timedelta) -> datetime:
        """So long ago, by PostgreSQL's clock."""
        ...

    def holdings(self, tenant_id: TenantId | None) -> Sequence[Holding]:
        """What each tenant has, or that one."""
        ...

    def aging(
        self, tenant_id: TenantId, age: Age, after: DeviceId | None, limit: int
    ) -> Sequence[tuple[DeviceId, Aged | None]]:
        """The next devices by id with something old, and what of it is to go, if anything."""
        ...

    def take(self, tenant_id: TenantId, devices: Sequence[DeviceId], age: Age, actor: str) -> Taken:
        """Take away what is old of these by now, in one transaction with its row in the audit."""
        ...

    def brake(self, tenant_id: TenantId, detail: str) -> bool:
        """Let the alarm of a round stand that would take too much, or clear it (no detail); True if it is new."""
        ...


class PurgeStore(Protocol):
    """What taking history away by somebody's word sees of the ledger."""

    def kept(self, tenant_id: TenantId, name: str) -> tuple[DeviceId, Sequence[KeptRun]]:
        """The configurations of a device, also of one that was removed, the oldest first; NotFound if there is none."""
        ...

    def purge(
        self, tenant_id: TenantId, device_id: DeviceId, decide: Callable[[Sequence[KeptRun]], Cut | None], actor: str
    ) -> Taken:
        """Take away what `decide` says over the locked device, with its row in the audit."""
        ...

    def doomed(self, name: str) -> Doomed:
        """What a tenant has, also one whose removal was cut off; NotFound if there is none of that name."""
        ...

    def remove_tenant(self, tenant_id: TenantId, actor: str) -> None:
        """Nothing of it is collected, or stored, from now on; its devices' logins go. Conflict if it is removed."""
        ...

    def empty_tenant(self, tenant_id: TenantId, actor: str) -> bool:
        """Take its rows away, whose keys are gone, and free its name; False if that was done already."""
        ...


class EscrowStore(Protocol):
    """For whom the current configurations are written, what goes into a file, and what became of it."""

    def every(self) -> Sequence[Escrow]:
        """All that are enabled, of tenants that are there."""
        ...

    def enable(self, tenant_id: TenantId, recipients: Sequence[str], folder: str | None, actor: str) -> Escrow:
        """Let it be written for these from now on, instead of whoever was named before; it is due at once."""
        ...

    def disable(self, tenant_id: TenantId, actor: str) -> bool:
        """Let none be written any more; False if none was. Its alarms are over."""
        ...

    def ask(self, escrow: Escrow, actor: str) -> None:
        """Let the job write it at once, though it is not due. NotFound if it is enabled no more."""
        ...

    def begin(self, escrow: Escrow, actor: str) -> int:
        """Who writes for whom, in the audit; how many devices there are. NotFound if it is enabled no more."""
        ...

    def next(self, escrow: Escrow, after: DeviceId | None) -> HeldConfig | None:
        """The next device and its current configuration, sealed; TransitKeyMissing if the tenant has no pepper."""
        ...

    def written(self, escrow: Escrow, written: Written, actor: str) -> bool:
        """A file is there: it is in the audit, and its alarms are over or, if it lacks devices, stand; True if new."""
        ...

    def failed(self, escrow: Escrow, why: str) -> bool:
        """None was written: let an alarm stand; True if it is new."""
        ...


class EscrowFolder(Protocol):
    """Where the files are; EscrowFailed if it is not fit for them, or full."""

    def fit(self, folder: str | None, recipients: Sequence[str]) -> None:
        """A folder, None: the usual one, is there, not everybody can write to it, and these can be encrypted to."""
        ...

    def ready(self, escrow: Escrow) -> None:
        """The folder of the tenant can be written to by nobody else; what was left of a draft is gone."""
        ...

    def is_ours(self, escrow: Escrow) -> bool:
        """Whether it is known here, and this process may write to it; of a folder that is not there: True."""
        ...

    def write(self, escrow: Escrow, pieces: Iterable[bytes], name: Callable[[Sequence[str]], str]) -> tuple[str, int]:
        """Encrypt a file, whole or not at all. Gives its name and its bytes.

        It is named at the end, by all the names that are taken then; EscrowFailed if it is given one of these. What
        getting the next piece raises passes unchanged.
        """
        ...

    def names(self, escrow: Escrow) -> Sequence[str]:
        """The files that are there."""
        ...

    def remove(self, escrow: Escrow, names: Sequence[str]) -> None:
        """Remove some of them."""
        ...


class CompactingStore(Protocol):
    """What taking old attempts away sees of the ledger."""

    def waiting(self, window: timedelta, after: DeviceId | None, limit: int) -> Sequence[DeviceId]:
        """The next devices by id that were not looked at within `window`."""
        ...

    def compact(self, device_id: DeviceId, keep: timedelta, most: int) -> int:
        """Of a device take away what ended longer ago than `keep` and says nothing more, at most so many; how many.

        Fewer than `most`: nothing is left to do there.
        """
        ...


class RenormalizeStore(Protocol):
    """What going over the past with a newer normalizer sees of the ledger; `version` is the normalizer's."""

    def waiting(self, version: int, after: DeviceId | None, limit: int) -> Sequence[DeviceId]:
        """The next devices by id that have contents of an older normalization."""
        ...

    def texts(self, device_id: DeviceId, version: int, after: int) -> Sequence[Old]:
        """The next contents of a device by number that have no newer hashes yet; of bounded number and bytes."""
        ...

    def keep(self, device_id: DeviceId, version: int, found: Sequence[Rehashed]) -> None:
        """Gather hashes, beside the old ones."""
        ...

    def rewrite(self, device_id: DeviceId, version: int, without: Sequence[int], actor: str) -> Rewritten | None:
        """Rewrite all of a device but for the contents `without`, at once; None: it cannot be now, nothing is done."""
        ...


class ReinterpretStore(Protocol):
    """Who has the past interpreted anew."""

    def devices(self, tenant_id: TenantId, name: str | None) -> Sequence[DeviceId]:
        """That device, or all that were not removed; NotFound if there is no such device."""
        ...

    def void(self, tenant_id: TenantId, devices: Sequence[DeviceId], actor: str) -> int:
        """Have the changes of these interpreted anew; how many, written down in the audit in the same transaction."""
        ...


# --- the operator ------------------------------------------------------------------------------------------------


class DeviceStore(Protocol):
    """The enroller's view: one device at a time, each act with its audit row in one transaction."""

    def find(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The device of that name that was not removed; NotFound if there is none."""
        ...

    def profile_for(self, tenant_id: TenantId, placement: Placement) -> str | None:
        """The profile whose login a device so placed would use; None: it needs one of its own."""
        ...

    def look(self, device: NewDevice) -> None:
        """Raise what `add` would of its name, its address and its scopes now: Conflict or NotFound."""
        ...

    def add(
        self, device: NewDevice, login: DeviceLogin | None, due: Callable[[datetime], datetime], actor: str
    ) -> DeviceRecord:
        """Insert it with its login; `due` gives its first run, which is its anchor. Conflict if it is there already.

        Without a login of its own it uses that of a profile; NotFound if a scope that it names is missing.
        """
        ...

    def change(
        self, tenant_id: TenantId, name: str, decide: Callable[[DeviceRecord], Update | None], actor: str
    ) -> tuple[DeviceRecord, bool]:
        """Lock it, let `decide` say what changes, apply that; the record afterwards, and whether anything changed."""
        ...

    def find_removed(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The device of that name that was removed last; NotFound if there is none."""
        ...

    def restore(self, removed: DeviceRecord, decide: Callable[[DeviceRecord], Update], actor: str) -> DeviceRecord:
        """Lock one that was removed, apply what `decide` says; fails as `add` does, Conflict if it is back already."""
        ...


class FleetStore(Protocol):
    """The enroller's view of many devices at once: all of it in one transaction, each act with its audit row."""

    def standing(self, tenants: Collection[str]) -> Fleet:
        """What is here of these tenants; those that there are not are left out."""
        ...

    def candidates(self, tenant_id: TenantId) -> Sequence[Candidate]:
        """All devices of a tenant that were not removed, by what they may be chosen by."""
        ...

    def carry_out(
        self,
        tenants: Collection[str],
        touched: Collection[DeviceId],
        decide: Callable[[Fleet], Orders],
        actor: str,
        moved: Callable[[int], None],
    ) -> CarriedOut:
        """Lock what is touched, let `decide` give the orders over what is here then, and do them, all or nothing.

        `moved` hears of devices that are done. Conflict if somebody else has taken a name or an address meanwhile.
        """
        ...


class ScopeStore(Protocol):
    """The enroller's view of what stands above devices; each act with its audit row in one transaction."""

    def find(self, kind: ScopeKind, tenant_id: TenantId, name: str) -> Record:
        """The one of that kind and name; NotFound if there is none. Of a tenant: itself, whatever its name."""
        ...

    def every(self, kind: ScopeKind, tenant_id: TenantId | None) -> Sequence[Record]:
        """All of that kind, by name; of all tenants if None."""
        ...

    def add(self, new: NewScope, actor: str) -> Record:
        """Make it; Conflict if there is one of its name, NotFound names what is missing that it names."""
        ...

    def change(
        self,
        kind: ScopeKind,
        tenant_id: TenantId,
        name: str,
        decide: Callable[[Record], ScopeUpdate | None],
        actor: str,
    ) -> Acted:
        """Lock its devices, then it, let `decide` say what changes, and apply that, to its devices too.

        Devices whose timetable becomes another run by it from then on. Conflict if two devices
        would have one address, or some no login.
        """
        ...


class SnapshotStore(Protocol):
    """The reader's view of what is kept, and of what was kept aside."""

    def runs(self, tenant_id: TenantId, name: str, limit: int) -> Sequence[Run]:
        """The newest runs of equal observations, the newest first; NotFound if there is no such device."""
        ...

    def read(self, tenant_id: TenantId, name: str, at: Seq | datetime | None, actor: str) -> SealedSnapshot:
        """One observation with its sealed export; who reads it is written down in the same transaction."""
        ...

    def again(self, snapshot: SealedSnapshot) -> SealedSnapshot:
        """The same as it is sealed now; nothing is written down: that was done when it was read."""
        ...

    def asides(self, tenant_id: TenantId, name: str) -> Sequence[Aside]:
        """What was kept aside, the newest first; NotFound if there is no such device."""
        ...

    def read_aside(self, tenant_id: TenantId, name: str, seq: Seq | None, actor: str) -> SealedSnapshot:
        """One of it, None: the newest; who reads it is written down in the same transaction. NotFound if it is gone."""
        ...


class TimelineStore(Protocol):
    """The reader's view of what changed; nothing is written down but by `reveal`."""

    def history(self, tenant_id: TenantId, name: str, wanted: ChangesWanted) -> History:
        """A device's changes, the newest first; NotFound if there is no such device."""
        ...

    def fleet(self, tenant_id: TenantId, wanted: ChangesWanted) -> FleetHistory:
        """The interpreted changes of all devices of a tenant that are there, the newest first."""
        ...

    def change(self, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> Entry:
        """The change that brought what was observed then, None: the newest; NotFound if there is none."""
        ...

    def snapshot(self, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> SealedSnapshot:
        """One observation with its sealed export, None: the current one; NotFound if there is none of then."""
        ...

    def leads(self, older: SealedSnapshot, newer: SealedSnapshot) -> Entry | None:
        """The one change that leads from one observation to the other of a device; None: they are not neighbours."""
        ...

    def components(self, tenant_id: TenantId) -> Sequence[str]:
        """The menus in which a tenant's newest changes were, in clear as they are kept."""
        ...

    def reveal(self, actor: str, owner: Owner, detail: Mapping[str, Any]) -> None:
        """Write down who is shown secrets of a device; to be called before anything is opened for it."""
        ...


class SearchStore(Protocol):
    """The reader's view of many configurations."""

    def begin(self, search_id: UUID, wanted: Search, actor: str) -> Extent:
        """Count them; who searches is written down in the same transaction. NotFound names what there is not."""
        ...

    def page(self, wanted: Search, devices: Sequence[DeviceId], after: Cursor | None) -> Sequence[ToSearch]:
        """The next ones of these devices, in their order, of bounded number and bytes."""
        ...

    def ended(self, search_id: UUID, wanted: Search, actor: str, found: Mapping[str, Any]) -> None:
        """Write down what came of it."""
        ...


class VerifyStore(Protocol):
    """What verifying sees of the ledger; numbers are those of rows, and mean nothing elsewhere."""

    def begin(self, wanted: Wanted) -> Standing:
        """Count what there is; a person who looks at it is written down in the same transaction."""
        ...

    def devices(self, wanted: Wanted, before: datetime, after: DeviceId | None, limit: int) -> Sequence[Due]:
        """The next devices by id whose newest observation was not looked at since then."""
        ...

    def flaws(self, device_id: DeviceId) -> Sequence[Flaw]:
        """What in a device's history contradicts itself, of bounded number."""
        ...

    def settle_history(self, due: Due, flaws: Sequence[Flaw]) -> bool:
        """Let the alarm of a device's history stand, or clear it; True if it is new."""
        ...

    def oldest(self, kept: Kept, wanted: Wanted, before: datetime, limit: int) -> Sequence[int]:
        """Those that were not looked at for longest, and not since then."""
        ...

    def alarmed(self, kept: Kept, wanted: Wanted, before: datetime, limit: int) -> Sequence[int]:
        """Those whose alarm stands, and that were not looked at since then."""
        ...

    def settle_keys(self, tenant_id: TenantId, why: str = "") -> bool:
        """Let the alarm of a tenant that has not its keys stand, or clear it; True if it is new."""
        ...

    def sight(self, kept: Kept, number: int) -> Sight | Keyless | None:
        """One of them; None if it is gone, or was given up with its keys."""
        ...

    def looked_at_histories(self, devices: Sequence[DeviceId]) -> None:
        """Write down that the histories of these devices were looked at now."""
        ...

    def looked_at(self, kept: Kept, numbers: Sequence[int], whole: Sequence[str]) -> None:
        """Write down that they were looked at now; `whole` are the scopes of alarms to clear."""
        ...


class TrustStore(Protocol):
    """The enroller's view of logins that devices share."""

    def shared(self, tenant_id: TenantId, names: Sequence[str]) -> Sequence[SharedLogin]:
        """The profiles of these names, as far as there are any."""
        ...

    def settle(self, tenant_id: TenantId, name: str, trust: Trust, devices: int, actor: str) -> Trust:
        """Let a profile say what first keys are worth, unless it says so already; what it says then."""
        ...


class AlarmBell(Protocol):
    """Raises alarms on their own."""

    def alarm(self, code: str, scope: str, detail: str) -> bool:
        """True if it is new."""
        ...


class EventStore(Protocol):
    """The teller's view of what happened, and of what is told of it."""

    def turn(self) -> AbstractContextManager[bool]:
        """Nobody else sends meanwhile; False if somebody does."""
        ...

    def gather(
        self,
        decide: Callable[[Sequence[Happened], Mapping[Key, datetime], datetime], Gathered],
        compose: Callable[[UUID, Key, Sequence[Happened], datetime], str],
    ) -> int:
        """Make events of what waits, in one transaction; how many. What an event says never changes after that."""
        ...

    def forget(self, older: timedelta) -> int:
        """Drop what has waited for longer, since there is no hook; how many."""
        ...

    def next_due(self) -> tuple[Event, datetime] | None:
        """The next event to be sent, and PostgreSQL's time."""
        ...

    def postpone(self, tenant_id: TenantId | None, wait: timedelta) -> None:
        """Let nothing with sealed lines, of this tenant or all, be tried before."""
        ...

    def delivered(self, event: Event, says: str) -> None:
        """It was taken; what was sealed with it is dropped."""
        ...

    def failed(self, event: Event, says: str, failed: Failed) -> bool:
        """It was not, and this follows; True if that is a new alarm."""
        ...


class Hook(Protocol):
    """Where events go."""

    def deliver(self, event_id: UUID, body: str) -> Answer:
        """Tell it once, within a bounded time; never raises: what came of it is an answer."""
        ...


class RequestStore(Protocol):
    """The operator's view: collections out of turn. Beat takes them up, within the same limits."""

    def ask(
        self, tenant_id: TenantId, names: Sequence[str] | None, actor: str, kind: Kind = ..., within: Within = ...
    ) -> Sequence[int]:
        """A request a device, audited, all or none; None: all `within` that are active and not blocked.

        A scan may be of blocked ones too. NotFound says which name is missing.
        """
        ...

    def force(self, tenant_id: TenantId, names: Sequence[str], actor: str) -> Sequence[int]:
        """Backups of these devices, audited, though they may be blocked or their login waits; else as `ask`."""
        ...

    def asked(self, numbers: Sequence[int], *, reports: bool = False) -> Sequence[Asked]:
        """What became of these requests, with what a test or a scan found if `reports`."""
        ...
