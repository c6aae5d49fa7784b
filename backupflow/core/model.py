"""The values that everything else speaks of: frozen, without behaviour that touches the world."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NewType
from uuid import UUID

from backupflow.errors import MessageMalformed

TenantId = NewType("TenantId", UUID)
DeviceId = NewType("DeviceId", UUID)
JumpHostId = NewType("JumpHostId", UUID)
CollectionId = NewType("CollectionId", int)
Seq = NewType("Seq", int)

RawConfig = NewType("RawConfig", bytes)  # as the router gave it, byte for byte
NormalConfig = NewType("NormalConfig", bytes)  # decides equality, diff and parsing; never downloaded
ContentHash = NewType("ContentHash", bytes)  # HMAC-SHA-256 of a NormalConfig under the tenant's pepper
Pepper = NewType("Pepper", bytes)  # 32 random bytes a tenant

_SEALED = re.compile(r"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}")

_VERSION = re.compile(r"vault:v([1-9][0-9]{0,8}):")


class State(StrEnum):
    """Where a collection stands; every move is one UPDATE that names the state it comes from."""

    CLAIMED = "claimed"
    RUNNING = "running"
    PUBLISHED = "published"
    STORED = "stored"
    WITHDRAWN = "withdrawn"
    LOST = "lost"
    FAILED = "failed"
    BLOCKED = "blocked"
    SUSPECT = "suspect"
    TESTED = "tested"


class Lane(StrEnum):
    """Which workers take a collection; each name is a queue."""

    NOW = "collect.now"
    NORMAL = "collect"
    SLOW = "collect.slow"


class Trigger(StrEnum):
    """Why a collection was claimed."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    FORCED = "forced"  # by a person, although the device is blocked or its login waits
    PROBE = "probe"  # one of two devices of a site that is down: does it answer again?
    TRIAL = "trial"  # one device for a login that many have refused: is it taken again?
    TEST = "test"  # all of a collection but its observation
    SCAN = "scan"  # the handshake alone: never a login

    @property
    def observes(self) -> bool:
        """Whether it adds to the history; what does not ends as `tested`, and moves no due time."""
        return self not in {Trigger.TEST, Trigger.SCAN}

    @property
    def by_person(self) -> bool:
        """Whether somebody asked for it; the others come by themselves."""
        return self in {Trigger.MANUAL, Trigger.FORCED, Trigger.TEST, Trigger.SCAN}


class LoginOn(StrEnum):
    """Which of the two logins of a profile that is being rotated."""

    CURRENT = "current"
    NEXT = "next"

    @property
    def other(self) -> LoginOn:
        """The other one."""
        return LoginOn.NEXT if self is LoginOn.CURRENT else LoginOn.CURRENT


class Trust(StrEnum):
    """What to do with the host key of a device that has none pinned, and of which none is expected."""

    TOFU = "tofu"  # trust on first use: pin it, then log in
    MANUAL = "manual"  # a person must approve it first


class TrustedHow(StrEnum):
    """How a host key came to be trusted."""

    FIRST_USE = "first_use"  # whoever answered first was believed
    APPROVED = "approved"  # an operator compared a first key
    ACCEPTED = "accepted"  # an operator compared a changed key
    IMPORT = "import"  # its fingerprint came with an inventory or an import, before the first contact
    KNOWN_HOSTS = "known_hosts"  # from an OpenSSH file


class SecretsPolicy(StrEnum):
    """Whether the secrets of a device's configuration are collected with it."""

    COLLECT = "collect"
    OMIT = "omit"  # they stay on the router: a restore needs them from elsewhere


class Secrets(StrEnum):
    """What one export shows of the secrets in it."""

    SHOWN = "shown"
    HIDDEN = "hidden"  # asked for, and not given: the user's rights do not suffice
    OMITTED = "omitted"  # not asked for
    NONE = "none"  # asked for, and there are none, as far as anybody can tell


class EndMark(StrEnum):
    """What is known of a router's habit to print a word after its export when it is asked to."""

    UNTRIED = "untried"
    REPEATED = "repeated"  # it did for a small menu: the next export is asked for it
    REQUIRED = "required"  # it did after an export: one without it is cut
    ABSENT = "absent"  # this version does not


class Purpose(StrEnum):
    """The three Transit keys of a tenant; a name ends in the tenant, so that policies can tell the purposes apart."""

    CREDENTIALS = "credentials"
    DATA = "data"
    PEPPER = "pepper"


@dataclass(frozen=True, slots=True)
class Sealed:
    """Text that only the vault can open; the only form of a secret that fits a message or a row."""

    text: str

    def __post_init__(self) -> None:
        """Refuse whatever is not a Transit ciphertext, so that plaintext cannot pass by mistake."""
        if not _SEALED.fullmatch(self.text):
            raise MessageMalformed("not a sealed text")

    @property
    def key_version(self) -> int:
        """The version of the key that it was sealed under."""
        return key_version(self.text)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the sealed text: tells two sealings apart, says nothing of the content."""
        return hashlib.sha256(self.text.encode("ascii")).digest()


class SealedConfig(Sealed):
    """A sealed envelope around one export."""


class SealedSecret(Sealed):
    """A sealed login or pepper."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key as SSH sends it (RFC 4253, section 6.6)."""

    key_type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen prints it: `SHA256:` and base64 without padding."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class ExpectedKey:
    """A key that may be pinned at first sight, known by its fingerprint (`SHA256:…`); where any is, no other may."""

    fingerprint: str
    how: TrustedHow
    key_type: str | None = None  # where it is known, such as ssh-ed25519


@dataclass(frozen=True, slots=True)
class Login:
    """An opened login; lives for one session and is never printed."""

    username: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Bounds of one session; their sum is its absolute deadline."""

    connect: timedelta = timedelta(seconds=10)
    banner: timedelta = timedelta(seconds=5)
    login: timedelta = timedelta(seconds=30)
    command: timedelta = timedelta(seconds=60)

    @property
    def deadline(self) -> timedelta:
        """The longest that a whole session may last."""
        return self.connect + self.banner + self.login + self.command


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and what may be offered there."""

    host: str
    port: int
    pinned: HostKey | None
    legacy_ssh: bool
    timeouts: Timeouts
    max_bytes: int = 16 * 1024 * 1024
    spoke_modern: bool = False  # it once agreed on nothing but modern algorithms: SHA-1 is out of the question
    not_after: float | None = (
        None  # seconds of this process's monotonic clock: the lease is over, and so is the session
    )
    expected: tuple[ExpectedKey, ...] = ()  # without a pinned key: their types are offered first


@dataclass(frozen=True, slots=True)
class Claim:
    """One emitted piece of work: a collection that a worker may start."""

    collection_id: CollectionId
    lane: Lane


def key_version(text: str) -> int:
    """The version of the key, from what begins a ciphertext or an HMAC of Transit (`vault:vN:`); 1 if nothing does."""
    found = _VERSION.match(text)
    return int(found[1]) if found else 1


def keyed_hash(pepper: Pepper, text: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) under the tenant's pepper: a plain hash would confirm guesses of a template's secret."""
    return hmac.digest(pepper, text, hashlib.sha256)


def content_hash(pepper: Pepper, text: NormalConfig) -> ContentHash:
    """The keyed hash that decides whether two exports are equal."""
    return ContentHash(keyed_hash(pepper, text))
