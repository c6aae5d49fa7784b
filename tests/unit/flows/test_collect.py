"""The collect flow over small fakes that write down what happens: in which order, and what each failure leads to."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backupflow.core import backoff
from backupflow.core.driver import Complete, Driver, Facts, Incomplete, Reason, Reply
from backupflow.core.envelope import unpack
from backupflow.core.ledger import Ending, Withdrawn
from backupflow.core.message import MAX_BYTES, encode
from backupflow.core.model import (
    Assignment,
    CollectionId,
    DeviceId,
    HostKey,
    Login,
    NormalConfig,
    Pepper,
    Published,
    RawConfig,
    SealedConfig,
    SealedSecret,
    Seq,
    State,
    Target,
    TenantId,
    Timeouts,
    Trust,
    content_hash,
)
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    BusUnavailable,
    DeviceTimeout,
    HostKeyMismatch,
    InputInvalid,
    LeaseLost,
    StoreUnavailable,
    VaultUnavailable,
)
from backupflow.flows.collect import CollectPorts, Outcome, collect, login_of, login_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.message import SnapshotMessage

KEY, OTHER = HostKey("ssh-ed25519", b"key"), HostKey("ssh-ed25519", b"other")
PEPPER = Pepper(b"p" * 32)
EXPORT = b"/ip address\r\nadd address=192.0.2.1\r\n"
NUMBER = CollectionId(7)
WORK = Assignment(
    NUMBER, "me", TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", Seq(3), "toy",
    Target("192.0.2.1", 22, KEY, legacy_ssh=False, timeouts=Timeouts()), Trust.TOFU, "backup", UUID(int=4),
    SealedSecret("vault:v1:TE9HSU4="), UUID(int=2), SealedSecret("vault:v1:UEVQUEVS"), None, 1, 0,
)  # fmt: skip


class Toy:
    """A driver of two commands, whose verdict is chosen by the answer."""

    name = "toy"
    secret_keys: frozenset[str] = frozenset()

    def commands(self, remembered: str | None) -> tuple[str, ...]:
        """Two, or the remembered one first."""
        return (remembered, "long", "short") if remembered else ("long", "short")

    def refused(self, reply: Reply) -> bool:
        """By a word."""
        return reply.stdout == b"no such command"

    def judge(self, reply: Reply) -> Complete | Incomplete:
        """By a word too."""
        if reply.stdout in {b"no such command", b"truncated", b"rejected", b"not_a_configuration", b"interrupted"}:
            return Incomplete(Reason(reply.stdout.decode().replace("no such command", "rejected")), "line 3")
        return Complete(Facts("toy", version="7.1"))

    def judge_file(self, raw: bytes) -> Complete | Incomplete:
        """Not asked here."""
        raise NotImplementedError

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Without carriage returns."""
        return NormalConfig(raw.replace(b"\r", b""))


class World:
    """All ports in one; `fails` names the call that fails, and how."""

    def __init__(self, **fails: BackupflowError) -> None:
        self.calls: list[str] = []
        self.fails = fails
        self.work: Assignment | Withdrawn | None = WORK
        self.offers = KEY
        self.answers: dict[str, bytes] = {"long": EXPORT}
        self.allowed = self.fenced = self.holds = True
        self.known = True
        self.logins: list[Login] = []
        self.passed: list[Published] = []
        self.sent: list[SnapshotMessage] = []
        self.endings: list[Ending] = []
        self.secret = b'{"password": "s3cret"}'
        self.sealed = "vault:v1:U0VBTEVE"
        self.told: list[Exception] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """CollectionStore."""
        self._call("start")
        return self.work

    def pin(self, assignment: Assignment, key: HostKey) -> None:
        """CollectionStore."""
        self._call("pin")

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        assert key is self.offers
        self._call("allowed")
        return self.allowed

    def publish(self, *given: Any) -> bool:  # noqa: ANN401 - of the store two, of the publisher one
        """CollectionStore and Publisher."""
        if len(given) == 2:
            self._call("fence")
            self.passed.append(given[1])
            return self.fenced
        self._call("publish")
        self.sent.append(given[0])
        return self.known

    def end(self, assignment: Assignment, ending: Ending) -> bool:
        """CollectionStore."""
        self._call("end")
        self.endings.append(ending)
        return self.holds

    @contextmanager
    def session(self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login]) -> Iterator[World]:
        """Collector."""
        self._call("connect")
        admit(self.offers)
        self.logins.append(login())
        self._call("login")
        yield self
        self._call("close")

    def run(self, command: str) -> Reply:
        """Session."""
        self._call(command)
        return Reply(command, self.answers.get(command, b"no such command"), b"", 0)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        self._call("pepper")
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        self._call("open")
        return self.secret

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer."""
        self._call("seal")
        self.envelope = envelope
        return SealedConfig(self.sealed)

    def collect(self, work: Assignment | Withdrawn | None = WORK, dice: float = 0.0) -> Outcome:
        """Run the flow."""
        self.work = work
        driver: Driver = Toy()
        ports = CollectPorts(self, self, self, self, self, lambda _: driver, lambda: dice)
        return collect(ports, NUMBER, "me", self.told.append)


def test_everything_happens_in_its_order() -> None:
    """The fence lies between sealing and publishing; the login is opened and sent after the key was admitted."""
    world = World()
    assert world.collect() == Outcome("published", device="core-1", seq=3)
    before = ["start", "pepper", "connect", "allowed", "open", "login", "long", "close"]
    assert world.calls == [*before, "seal", "fence", "publish"]
    assert world.logins == [Login("backup", password="s3cret")]


def test_what_is_sealed_is_the_export_and_what_is_told_is_not() -> None:
    """The envelope holds the raw bytes with their owner; row and message have a keyed hash of the normal text."""
    world = World()
    world.collect()
    header, raw = unpack(world.envelope, 10**6)
    assert raw == EXPORT
    assert (header.tenant_id, header.device_id, header.seq) == (WORK.tenant_id, WORK.device_id, WORK.seq)
    hashed = content_hash(PEPPER, NormalConfig(EXPORT.replace(b"\r", b"")))
    told, sent = world.passed[0], world.sent[0]
    assert (told.content_hash, told.digest, told.raw_bytes, told.command) == (hashed, sent.sealed.digest, 36, "long")
    assert (sent.content_hash, sent.collection_id, sent.seq) == (hashed, NUMBER, WORK.seq)
    assert told.facts["version"] == "7.1"
    assert told.host_key == KEY


@pytest.mark.parametrize(
    ("work", "what"), [(None, Outcome("not_claimed")), (Withdrawn("paused"), Outcome("withdrawn", detail="paused"))]
)
def test_without_a_claim_nothing_is_done(work: Withdrawn | None, what: Outcome) -> None:
    """A second copy of a message, or a device that was paused: no connection."""
    world = World()
    assert world.collect(work) == what
    assert world.calls == ["start"]


def test_a_first_key_is_pinned_before_the_login_is_opened() -> None:
    """On first use the pin is committed, then the login is fetched (I6)."""
    world = World()
    world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert world.calls[2:6] == ["connect", "pin", "allowed", "open"]


@pytest.mark.parametrize("pinned", [KEY, None])
def test_a_key_that_is_not_trusted_gets_no_login(pinned: HostKey | None) -> None:
    """Another key than the pinned one, or a first one that a person must approve: it is kept to be shown (I6, I7)."""
    world = World()
    world.offers = OTHER
    trust = Trust.TOFU if pinned else Trust.APPROVED
    outcome = world.collect(replace(WORK, trust=trust, target=replace(WORK.target, pinned=pinned)))
    assert outcome.code == ("host_key_mismatch" if pinned else "host_key_unapproved")
    assert world.calls == ["start", "pepper", "connect", "end"]
    ending = world.endings[0]
    assert (ending.state, ending.blocks, ending.offered) == (State.BLOCKED, True, OTHER)


def test_a_key_that_was_pinned_meanwhile_gets_no_login() -> None:
    """Two first sights at once: the second is measured against the first."""
    world = World(pin=HostKeyMismatch("meanwhile"))
    world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert "open" not in world.calls
    assert world.endings[0].blocks


def test_a_login_that_may_not_be_used_is_not_even_opened() -> None:
    """Suspended or paused after the start: it ends without counting against the device (I7)."""
    world = World()
    world.allowed = False
    assert world.collect().code == "suspended"
    assert "open" not in world.calls
    assert (world.endings[0].state, world.endings[0].counts, world.endings[0].blocks) == (State.FAILED, False, False)
    assert world.endings[0].alarm == ""


def test_a_pause_that_goes_on_waits() -> None:
    """The third in a row waits like a failure, and each says that it is one."""
    world = World(pepper=VaultUnavailable())
    world.collect(replace(WORK, losses=2))
    assert (world.endings[0].again_in, world.endings[0].pauses) == (backoff.step(0, 0.0), True)


def paused(code: str, detail: str) -> Ending:
    """Ours is down: due again at once, with an alarm."""
    return Ending(State.FAILED, code, detail, again_in=timedelta(0), pauses=True, alarm="collecting")


@pytest.mark.parametrize(
    ("where", "error", "ending"),
    [
        (
            "connect",
            DeviceTimeout(),
            Ending(State.FAILED, "device_timeout", "", True, False, backoff.step(1, 0.0), slow=True),
        ),
        ("login", AuthenticationFailed(), Ending(State.BLOCKED, "authentication_failed", "", True, True)),
        ("pepper", VaultUnavailable("x"), paused("vault_unavailable", "x")),
        ("seal", VaultUnavailable(), paused("vault_unavailable", "")),
        ("publish", BusUnavailable("full"), paused("bus_unavailable", "full")),
    ],
)
def test_each_failure_ends_the_row_with_its_reason(where: str, error: BackupflowError, ending: Ending) -> None:
    """Wherever it happens: once, with the code, and with what follows for the device (I10)."""
    world = World(**{where: error})
    outcome = world.collect()
    assert (outcome.what, outcome.code) == (ending.state, ending.code)
    assert world.endings == [ending]
    assert world.calls[-1] == "end"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"truncated", "output_truncated"),
        (b"interrupted", "output_truncated"),
        (b"rejected", "command_rejected"),
        (b"not_a_configuration", "not_a_configuration"),
    ],
)
def test_what_is_not_complete_is_not_sealed(answer: bytes, code: str) -> None:
    """An answer that shows a sign of being partial never comes near the vault or the fence (I8)."""
    world = World()
    world.answers["long"] = answer
    assert world.collect().code == code
    assert not {"seal", "fence", "publish"} & set(world.calls)


@pytest.mark.parametrize("over", [0, 1])
def test_what_no_message_can_hold_never_reaches_the_fence(over: int) -> None:
    """A row behind it says that its configuration is on its way; this device goes on at its interval."""
    world = World()
    world.collect()
    world.sealed += "A" * (MAX_BYTES + over - len(encode(world.sent[0])))
    outcome = world.collect()
    assert (outcome.what, outcome.code) == [("published", ""), ("failed", "output_too_large")][over]
    assert len(world.passed) == 2 - over


def test_the_next_command_is_tried_in_the_same_session() -> None:
    """A router that does not know the first; the remembered one comes first; none known is a failure."""
    world = World()
    world.answers = {"short": EXPORT}
    assert world.collect().what == "published"
    assert world.calls[6:9] == ["long", "short", "close"]
    assert world.passed[0].command == "short"
    world = World()
    world.answers["mine"] = EXPORT
    world.collect(replace(WORK, remembered_command="mine"))
    assert "long" not in world.calls
    world = World()
    world.answers = {}
    assert world.collect().code == "command_rejected"


def test_behind_the_fence_without_a_lease_nothing_is_published() -> None:
    """What was read is dropped, and the row is not touched again (I4)."""
    world = World()
    world.fenced = False
    assert world.collect() == Outcome("dropped", "lease_lost", "", "core-1", 3)
    assert world.calls[-1] == "fence"


def test_a_lease_that_is_lost_before_the_fence_ends_nothing() -> None:
    """The store finds no such holder any more; the outcome says that it was dropped."""
    world = World(pin=LeaseLost())
    world.holds = False
    outcome = world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert (outcome.what, outcome.code) == ("dropped", "lease_lost")


def test_an_unknown_outcome_leaves_the_row_published() -> None:
    """Only a definite refusal ends it: the message may have arrived (I1)."""
    world = World()
    world.known = False
    assert world.collect().what == "publish_unknown"
    assert world.calls[-1] == "publish"


@pytest.mark.parametrize("where", ["start", "pin", "allowed", "fence", "end"])
def test_while_the_database_is_away_nothing_is_ended(where: str) -> None:
    """A commit of unknown outcome, or no connection: the claim is emitted again, or its lease ends it."""
    fails: dict[str, BackupflowError] = {where: StoreUnavailable("away")}
    if where == "end":
        fails["connect"] = DeviceTimeout()
    world = World(**fails)
    outcome = world.collect(replace(WORK, target=replace(WORK.target, pinned=None)))
    assert (outcome.what, outcome.code) == ("not_started" if where == "start" else "unfinished", "store_unavailable")
    assert world.calls[-1] == where
    assert "publish" not in world.calls


@pytest.mark.parametrize("where", ["pepper", "connect", "long", "seal", "fence"])
def test_a_defect_ends_the_row_and_waits(where: str) -> None:
    """What nobody foresaw is said and ends the row with an alarm: the next run would only meet it again (I9, I10)."""
    defect = KeyError("/ip address")
    world = World(**{where: defect})  # type: ignore[arg-type]
    assert world.collect() == Outcome("failed", "unexpected", "KeyError", "core-1", 3)
    wait, scope = backoff.step(WORK.failures, 0.0), f"device {WORK.device_id}"
    assert world.endings == [Ending(State.FAILED, "unexpected", "KeyError", True, False, wait, alarm=scope)]
    assert world.told == [defect]
    assert "publish" not in world.calls


def test_a_defect_behind_the_fence_leaves_the_row_published() -> None:
    """The message may have arrived: ended as failed it would be a forged one to ingest (I1)."""
    defect = KeyError("defect")
    world = World(publish=defect)  # type: ignore[arg-type]
    assert world.collect() == Outcome("publish_unknown", "unexpected", "", "core-1", 3)
    assert (world.endings, world.told) == ([], [defect])


def test_a_defect_without_a_database_is_left_to_the_lease() -> None:
    """It cannot be written down now; it was said."""
    fails: dict[str, Any] = {"seal": KeyError("defect"), "end": StoreUnavailable("away")}
    world = World(**fails)
    assert world.collect() == Outcome("unfinished", "store_unavailable", "away", "core-1", 3)
    assert len(world.told) == 1


@pytest.mark.parametrize(
    "login",
    [Login("u", password="p \N{LATIN SMALL LETTER E WITH ACUTE}\0"), Login("u", private_key="k", passphrase="x")],
)
def test_a_login_survives_its_sealing(login: Login) -> None:
    """The part that is sealed, and nothing else, gives the login back."""
    assert login_of("u", login_secret(login)) == login


@pytest.mark.parametrize("secret", [b"hunter2", b'{"word": "hunter2"}', b"[]", b"\xff"])
def test_a_login_that_cannot_be_read_says_nothing_of_itself(secret: bytes) -> None:
    """Something else was sealed there: a failure with a reason, in which no secret stands (I5)."""
    with pytest.raises(InputInvalid) as caught:
        login_of("u", secret)
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__
    world = World()
    world.secret = secret
    assert world.collect().code == "input_invalid"
    assert world.endings[0].state is State.FAILED
