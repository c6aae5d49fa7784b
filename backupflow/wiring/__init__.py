"""Settings -> adapters -> ports.

The one place that opens adapters; each is imported by its builder and opened once a process, after fork.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from backupflow.core import ports
from backupflow.core.flapping import Quota
from backupflow.core.ledger import Limits
from backupflow.core.model import Timeouts
from backupflow.core.scope import Policy
from backupflow.core.tls import Trust, postgres_options, trust
from backupflow.errors import SettingsInvalid
from backupflow.settings import Settings
from backupflow.wiring import kill_points
from backupflow.wiring.last_calls import LastCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Engine

    from backupflow.adapters.bus import Bus
    from backupflow.adapters.copies.escrow import AgeFolder
    from backupflow.adapters.db.alarms import Alarms
    from backupflow.adapters.db.attempts import Attempts
    from backupflow.adapters.db.canaries import Canaries
    from backupflow.adapters.db.capacity import Capacity
    from backupflow.adapters.db.claims import Claims
    from backupflow.adapters.db.compacting import Compacting
    from backupflow.adapters.db.devices import Devices
    from backupflow.adapters.db.escrow import Escrows
    from backupflow.adapters.db.event_desk import EventDesk
    from backupflow.adapters.db.fleet import FleetDesk
    from backupflow.adapters.db.gauges import Gauges
    from backupflow.adapters.db.house import House
    from backupflow.adapters.db.ignore_rules import IgnoreRules
    from backupflow.adapters.db.key_desk import KeyDesk
    from backupflow.adapters.db.keys import Keys
    from backupflow.adapters.db.processes import Processes
    from backupflow.adapters.db.purging import Purging
    from backupflow.adapters.db.quarantined import QuarantineDesk
    from backupflow.adapters.db.reinterpreting import Reinterpreting
    from backupflow.adapters.db.requests import Requests
    from backupflow.adapters.db.retaining import Retaining
    from backupflow.adapters.db.scopes import Scopes
    from backupflow.adapters.db.shared_logins import SharedLogins
    from backupflow.adapters.db.snapshots import Snapshots
    from backupflow.adapters.db.status import Statuses
    from backupflow.adapters.db.timeline import Timelines
    from backupflow.adapters.db.watching import Watches
    from backupflow.adapters.presence import RedisPresence
    from backupflow.adapters.reader.interpreter import ProcessInterpreter
    from backupflow.adapters.vault import Vault
    from backupflow.core.model import SealedSecret, TenantId
    from backupflow.flows.enroll import EnrollPorts
    from backupflow.flows.escrow import EscrowPorts
    from backupflow.flows.history import HistoryPorts
    from backupflow.flows.hostkeys import KnownPorts
    from backupflow.flows.ignoring import SuggestPorts
    from backupflow.flows.importing import ImportPorts
    from backupflow.flows.ingest import IngestPorts
    from backupflow.flows.interpret import InterpretPorts
    from backupflow.flows.keys import KeyPorts
    from backupflow.flows.outcome import CollectPorts
    from backupflow.flows.renewing import RenewPorts
    from backupflow.flows.renormalize import RenormalizePorts
    from backupflow.flows.scopes import ScopePorts
    from backupflow.flows.search import SearchPorts
    from backupflow.flows.status import StatusPorts
    from backupflow.flows.telling import TellPorts
    from backupflow.flows.timeline import TimelinePorts
    from backupflow.flows.verify import VerifyPorts

_LARGEST_EXPORT = 64 * 1024 * 1024  # that any setting may ever have let in
# Of one collect worker: its threads wait for routers and need the database for milliseconds, while a server of default
# settings has 100 connections for all processes together.
_MOST_CONNECTIONS = 20
_SPARE_CONNECTIONS = 3  # heartbeat, health, one more
_NONCE_BYTES = 12
_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
DEFAULT_TENANT = "default"
ADDRESSES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "nats": "NATS_URL", "openbao": "OPENBAO_ADDR"}
# What an adapter of several ports plays.
_OF_VAULT = (
    ports.Sealer, ports.ConfigOpener, ports.SecretOpener, ports.SecretSealer, ports.Canary, ports.KeyMaker,
    ports.Rewrapper, ports.KeyKeeper,
)  # fmt: skip
_OF_BUS = (ports.Publisher, ports.Inbox, ports.BusGauge)

Player = TypeVar("Player")


class Wiring:
    """All that one process opens, each part when it is first asked for; `role` decides whose logins are used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process_id: UUID = uuid4()
        self._engines: dict[str, Engine] = {}
        self._vaults: dict[str, Vault] = {}
        self._buses: dict[str, Bus] = {}
        self._last_calls = LastCalls()
        self._opening = threading.RLock()  # the threads of a worker begin at once, and each part is opened once
        self._kill_point = kill_points.asked_for(os.environ)  # None but in a test

    def port(self, player: Player, *played: type) -> Player:
        """What is handed out to play these ports: the object itself, unless a test asks for a kill point in one."""
        return player if self._kill_point is None else self._kill_point.wrap(player, *played)

    def failing(self) -> dict[str, timedelta]:
        """How long ago a call of the vault or the bus failed that none succeeded after, by the code of the error."""
        return self._last_calls.failing()

    # --- values --------------------------------------------------------------------------------------------------

    @cached_property
    def policy(self) -> Policy:
        """The global settings of devices."""
        collecting = self.settings.collecting
        timeouts = Timeouts(
            collecting.connect_timeout, collecting.banner_timeout, collecting.login_timeout, collecting.command_timeout
        )
        return Policy(
            interval=collecting.interval,
            timeouts=timeouts,
            max_bytes=collecting.max_bytes,
            secrets=collecting.secrets,
            end_mark=collecting.end_mark,
        )

    @cached_property
    def limits(self) -> Limits:
        """What one claim may take."""
        collecting = self.settings.collecting
        return Limits(max_total=collecting.max_total, emit_again_after=collecting.emit_again_after)

    @property
    def spread(self) -> tuple[timedelta, timedelta]:
        """When new devices run first."""
        return self.settings.collecting.spread_from, self.settings.collecting.spread_to

    def dice(self) -> float:
        """A number in [0, 1), for spreading only."""
        return random.random()  # noqa: S311 - not a secret

    def nonce(self) -> str:
        """A word that nobody can guess; letters and digits only."""
        return secrets.token_hex(_NONCE_BYTES)

    def secret(self, role: str, server: str) -> str:
        """A role's login to a server, from its file."""
        path = self.settings.servers.secrets_dir / f"{role}.{server}"
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise SettingsInvalid(f"CONFIG_SECRETS_DIR/{role}.{server}: {exc.strerror}") from None

    @cached_property
    def _servers_ca(self) -> str | None:
        """The file of CONFIG_SERVERS_CA; SettingsInvalid if it holds no authorities: nothing would be trusted by it."""
        file = self.settings.servers.ca
        if file is None:
            return None
        import ssl

        try:
            ssl.create_default_context(cafile=str(file))
        except (OSError, ssl.SSLError):
            raise SettingsInvalid(f"CONFIG_SERVERS_CA: {file} is no file of certificates that can be read") from None
        return str(file)

    def trusted(self, variable: str) -> Trust:
        """How the server whose address stands in that variable is reached, and trusted."""
        servers = self.settings.servers
        address = {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "NATS_URL": servers.nats_url,
            "OPENBAO_ADDR": servers.openbao_addr,
        }[variable]
        return trust(variable, _required(address, variable), self._servers_ca)

    @property
    def postgres_options(self) -> dict[str, str]:
        """What libpq is told of trust beside the address, whichever program uses it."""
        return postgres_options(self.trusted("DATABASE_URL"), self.settings.servers.database_url, machine_authorities())

    @property
    def broker_options(self) -> dict[str, Any]:
        """What a client of redis-py is told of trust beside the address."""
        from backupflow.adapters.broker import options

        return options(self.trusted("REDIS_URL"))

    def broker_url(self, role: str) -> str:
        """The broker's address with its login; for Celery only, never to be printed."""
        address = _required(self.settings.servers.redis_url, "REDIS_URL")
        scheme, _, rest = address.partition("://")
        if "@" in rest:
            raise SettingsInvalid("REDIS_URL must not hold a login; logins are files in CONFIG_SECRETS_DIR")
        return f"{scheme}://{role}:{self.secret(role, 'redis')}@{rest}"

    @property
    def flower_transport(self) -> dict[str, str]:
        """How kombu speaks to the broker in Flower: with tables of its own, for it may not touch those of workers."""
        from backupflow.adapters.broker import FLOWER_TRANSPORT

        return dict(FLOWER_TRANSPORT)

    def require_addresses(self, role: str, servers: Collection[str]) -> None:
        """SettingsInvalid if that role could not so much as begin to connect to one of these; nobody is asked yet.

        Where Celery meets it first it ends in a traceback.
        """
        for server in sorted(servers):
            self.trusted(ADDRESSES[server])
        if "redis" in servers:
            self.broker_url(role)
            _ = self.broker_options
        if "postgres" in servers:
            self.engine(role)

    # --- adapters ------------------------------------------------------------------------------------------------

    def engine(self, role: str) -> Engine:
        """PostgreSQL as a role; the threads of a collect worker share a bounded number of connections."""
        with self._opening:
            if role not in self._engines:
                from backupflow.adapters.db.engine import Postgres, open_engine

                url = _required(self.settings.servers.database_url, "DATABASE_URL")
                pool = min(self.settings.collecting.max_concurrent, _MOST_CONNECTIONS) if role == "collector" else 2
                postgres = Postgres(url, role, self.secret(role, "postgres"), self.postgres_options)
                self._engines[role] = open_engine(postgres, pool + _SPARE_CONNECTIONS)
            return self._engines[role]

    @property
    def vault_ca(self) -> str | None:
        """The file of authorities for OpenBao; None: those of the library."""
        return self.trusted("OPENBAO_ADDR").ca or machine_authorities()

    def vault(self, role: str) -> Vault:
        """OpenBao as a role."""
        with self._opening:
            if role not in self._vaults:
                from backupflow.adapters.vault import AppRoleLogin, Vault

                addr = _required(self.settings.servers.openbao_addr, "OPENBAO_ADDR")
                login = json.loads(self.secret(role, "openbao"))
                pool = self.settings.collecting.max_concurrent + 1
                ca = self.vault_ca
                vault = Vault(addr, AppRoleLogin(login["role_id"], login["secret_id"]), pool=pool, ca=ca)
                vault.noted = self._last_calls.of(f"vault as {role}")
                self._vaults[role] = self.port(vault, *_OF_VAULT)
            return self._vaults[role]

    def bus(self, role: str) -> Bus:
        """NATS as a role."""
        with self._opening:
            if role not in self._buses:
                from backupflow.adapters.bus import Bus, BusLogin

                url = _required(self.settings.servers.nats_url, "NATS_URL")
                room = self.settings.collecting.stream_max_bytes
                ca = self.trusted("NATS_URL").ca
                bus = Bus(url, BusLogin(role, self.secret(role, "nats")), max_bytes=room, ca=ca)
                bus.noted = self._last_calls.of(f"bus as {role}")
                self._buses[role] = self.port(bus, *_OF_BUS)
            return self._buses[role]

    # --- ports ---------------------------------------------------------------------------------------------------

    @cached_property
    def collect_ports(self) -> CollectPorts:
        """What collecting needs."""
        from backupflow.adapters.db.collections import Collections
        from backupflow.adapters.reader import ProcessReader
        from backupflow.adapters.ssh import SshCollector
        from backupflow.drivers import driver
        from backupflow.flows.outcome import CollectPorts

        vault = self.vault("collector")
        collections = Collections(self.engine("collector"), self.policy, self.settings.collecting.lease_grace)
        store = self.port(collections, ports.CollectionStore)
        collector = self.port(SshCollector(), ports.Collector)
        bus, reader = self.bus("collector"), self.port(ProcessReader(), ports.Reader)
        retry = self.settings.collecting.jump_host_retry
        return CollectPorts(store, collector, vault, vault, bus, reader, driver, self.dice, self.nonce, retry)

    def ingest_ports(self, unexpected: Callable[[Exception], None]) -> IngestPorts:
        """What ingesting needs."""
        from backupflow.adapters.db.observations import Observations
        from backupflow.adapters.db.quarantine import Quarantine
        from backupflow.flows.ingest import IngestPorts

        quarantine = self.port(Quarantine(self.engine("ingester")), ports.QuarantineStore)
        store = self.port(Observations(self.engine("ingester"), self.dice), ports.ObservationStore)
        vault, lost_after = self.vault("ingester"), self.settings.collecting.lost_after
        return IngestPorts(self.bus("ingester"), store, quarantine, vault, unexpected, lost_after)

    def interpret_ports(self, unexpected: Callable[[Exception], None]) -> InterpretPorts:
        """What interpreting needs."""
        from backupflow.adapters.db.interpretations import Interpretations
        from backupflow.flows.interpret import InterpretPorts

        quota = Quota(self.settings.keeping.changes_a_day, self.settings.keeping.changed_bytes_a_day)
        store = self.port(Interpretations(self.engine("interpreter"), quota), ports.InterpretationStore)
        vault, room = self.vault("interpreter"), max(self.policy.max_bytes, _LARGEST_EXPORT)
        keys, alarms = self.keys("interpreter"), self.alarms("interpreter")
        return InterpretPorts(store, self._interpreter, vault, vault, vault, keys, vault, alarms, unexpected, room)

    @cached_property
    def _interpreter(self) -> ProcessInterpreter:
        """One a process: it bounds how many large changes are interpreted at once."""
        from backupflow.adapters.reader.interpreter import ProcessInterpreter

        return self.port(ProcessInterpreter(), ports.Interpreter)

    @cached_property
    def claims(self) -> Claims:
        """The scheduler's view of the ledger."""
        from backupflow.adapters.db.claims import Claims, nobody

        absent = self.presence.offline if self.settings.servers.redis_url else nobody
        claims = Claims(self.engine("scheduler"), self.policy, self.dice, absent)
        return self.port(claims, ports.ClaimStore)

    @cached_property
    def gauges(self) -> Gauges:
        """The whole install in figures."""
        from backupflow.adapters.db.gauges import Gauges

        return self.port(Gauges(self.engine("scheduler"), self.policy, self.limits), ports.GaugeStore)

    @cached_property
    def presence(self) -> RedisPresence:
        """What somebody's poller says of devices."""
        from backupflow.adapters.presence import RedisPresence

        presence = RedisPresence(self.broker_url("scheduler"), options=self.broker_options)
        return self.port(presence, ports.Presence)

    @cached_property
    def status_ports(self) -> StatusPorts:
        """What it takes to find out that devices answer again."""
        from backupflow.adapters.db.knocking import Knocking
        from backupflow.adapters.knocker import TcpKnocker
        from backupflow.flows.status import StatusPorts

        store = self.port(Knocking(self.engine("collector"), self.policy), ports.KnockStore)
        return StatusPorts(store, self.port(TcpKnocker(), ports.Knocker), self.dice)

    def keys(self, role: str) -> Keys:
        """The canaries of all tenants."""
        from backupflow.adapters.db.keys import Keys

        return self.port(Keys(self.engine(role)), ports.KeyLedger, ports.KeyStore)

    def key_ports(self, actor: str) -> KeyPorts:
        """What work on the keys needs: a login that opens nothing."""
        from backupflow.adapters.db.sealed import SealedTexts
        from backupflow.flows.keys import KeyPorts

        texts = self.port(SealedTexts(self.engine("operator")), ports.SealedStore)
        return KeyPorts(self.vault("operator"), self.keys("operator"), texts, actor)

    def renew_ports(self, actor: str) -> RenewPorts:
        """What giving keys up needs beside that."""
        from backupflow.adapters.db.renewals import Renewals
        from backupflow.flows.renewing import RenewPorts

        store = self.port(Renewals(self.engine("operator")), ports.RenewalStore)
        return RenewPorts(self.key_ports(actor), self.vault("provisioner"), store)

    def alarms(self, role: str) -> Alarms:
        """Alarms."""
        from backupflow.adapters.db.alarms import Alarms

        return self.port(Alarms(self.engine(role)), ports.AlarmBell)

    @cached_property
    def house(self) -> House:
        """What the jobs need."""
        from backupflow.adapters.db.house import House

        return self.port(House(self.engine("operator"), self.policy.secrets), ports.HouseStore)

    @cached_property
    def hook(self) -> ports.Hook | None:
        """Who is told of events; None: nobody."""
        from backupflow.core.hook_target import Command, target

        telling, folder = self.settings.telling, self.settings.servers.secrets_dir
        match target(telling.on_event):
            case None:
                return None
            case Command(words):
                from backupflow.adapters.hook.command import CommandHook

                return self.port(CommandHook(words), ports.Hook)
            case address:
                from backupflow.adapters.hook import WebHook, read_secrets

                hook = WebHook(address, lambda: read_secrets(folder), telling.on_event_ca)
                return self.port(hook, ports.Hook)

    @cached_property
    def tell_ports(self) -> TellPorts:
        """What telling of events needs."""
        from backupflow.adapters.db.outbox import Outbox
        from backupflow.flows.telling import TellPorts

        store = self.port(Outbox(self.engine("operator")), ports.EventStore)
        return TellPorts(store, self.hook, self.dice, lambda: self.vault("reader"))

    def event_desk(self, role: str) -> EventDesk:
        """What was told; `reader` may look, `operator` have it tried again."""
        from backupflow.adapters.db.event_desk import EventDesk

        return EventDesk(self.engine(role))

    def processes(self, role: str) -> Processes:
        """The heartbeat of this process."""
        from backupflow.adapters.db.processes import Processes

        return Processes(self.engine(role), self.process_id, role)

    def canaries(self, role: str) -> Canaries:
        """Who hears: the canary of each queue, and what the heartbeats say."""
        from backupflow.adapters.db.canaries import Canaries

        return Canaries(self.engine(role), self.settings.collecting.deaf_after)

    def devices(self, role: str) -> Devices:
        """Devices, one at a time; `enroller` may write, `reader` only look."""
        from backupflow.adapters.db.devices import Devices

        return self.port(Devices(self.engine(role), self.policy), ports.DeviceStore)

    def enroll_ports(self, actor: str) -> EnrollPorts:
        """What acts on devices need."""
        from backupflow.drivers import driver
        from backupflow.flows.enroll import EnrollPorts

        store = self.devices("enroller")
        return EnrollPorts(store, _LateSealer(self), driver, self.spread, self.dice, actor)

    def trust(self, role: str) -> SharedLogins:
        """Logins that devices share; `enroller` may settle what their first keys are worth, `reader` only look."""
        from backupflow.adapters.db.shared_logins import SharedLogins

        return self.port(SharedLogins(self.engine(role)), ports.TrustStore)

    def fleet(self, role: str) -> FleetDesk:
        """Many devices at once; `enroller` may write, `reader` only look."""
        from backupflow.adapters.db.fleet import FleetDesk

        return self.port(FleetDesk(self.engine(role), self.policy), ports.FleetStore)

    def import_ports(self, actor: str) -> ImportPorts:
        """What taking a fleet in needs."""
        from backupflow.flows.importing import ImportPorts

        return ImportPorts(self.fleet("enroller"), _LateSealer(self), self.spread, self.dice, uuid4, actor)

    def scopes(self, role: str) -> Scopes:
        """What stands above devices; `enroller` may write, `reader` only look."""
        from backupflow.adapters.db.scopes import Scopes

        return self.port(Scopes(self.engine(role), self.policy), ports.ScopeStore)

    def scope_ports(self, actor: str) -> ScopePorts:
        """What acts on logins, groups, sites, tenants and jump hosts need."""
        from backupflow.flows.scopes import ScopePorts

        return ScopePorts(self.scopes("enroller"), _LateSealer(self), actor)

    @cached_property
    def capacity(self) -> Capacity:
        """Whether the workers can keep up."""
        from backupflow.adapters.db.capacity import Capacity

        return Capacity(self.engine("reader"), self.policy)

    def key_desk(self, role: str) -> KeyDesk:
        """Host keys of a whole fleet at one look."""
        from backupflow.adapters.db.key_desk import KeyDesk

        return KeyDesk(self.engine(role))

    def known_ports(self, actor: str) -> KnownPorts:
        """What learning from files of host keys needs."""
        from backupflow.flows.hostkeys import KnownPorts

        return KnownPorts(self.devices("enroller"), self.scopes("enroller"), actor)

    def history_ports(self, actor: str) -> HistoryPorts:
        """What reading configurations needs."""
        from backupflow.drivers import driver
        from backupflow.flows.history import HistoryPorts

        vault, room = self.vault("reader"), max(self.policy.max_bytes, _LARGEST_EXPORT)
        return HistoryPorts(self.snapshots, vault, vault, driver, self.alarms("operator"), actor, room)

    def timeline_ports(self, actor: str) -> TimelinePorts:
        """What looking at changes needs."""
        from backupflow.flows.timeline import TimelinePorts

        return TimelinePorts(self.timelines, self.history_ports(actor))

    def search_ports(self, actor: str) -> SearchPorts:
        """What searching needs."""
        from backupflow.adapters.db.searching import Searching
        from backupflow.flows.search import SearchPorts

        store = self.port(Searching(self.engine("reader")), ports.SearchStore)
        return SearchPorts(store, self.history_ports(actor), uuid4)

    def ignore_rules(self, role: str) -> IgnoreRules:
        """What is not told; `enroller` may write, `reader` only look."""
        from backupflow.adapters.db.ignore_rules import IgnoreRules

        return self.port(IgnoreRules(self.engine(role)), ports.IgnoreStore)

    def suggest_ports(self) -> SuggestPorts:
        """What suggesting rules of what is not told needs."""
        from backupflow.adapters.db.noise import Noise
        from backupflow.drivers import driver
        from backupflow.flows.ignoring import SuggestPorts

        store = self.port(Noise(self.engine("reader")), ports.NoiseStore)
        return SuggestPorts(store, self.vault("reader"), self.vault("reader"), driver)

    def verify_ports(self, actor: str) -> VerifyPorts:
        """What verifying needs: the operator's rows, and the reader's right to open."""
        from backupflow.adapters.db.verifying import Verifying
        from backupflow.flows.verify import VerifyPorts

        store, keys = self.port(Verifying(self.engine("operator")), ports.VerifyStore), self.keys("operator")
        return VerifyPorts(store, self.history_ports(actor), keys, self.vault("reader"))

    def escrows(self, role: str) -> Escrows:
        """For whom an escrow is written; `operator` may change it, `reader` only look."""
        from backupflow.adapters.db.escrow import Escrows

        return self.port(Escrows(self.engine(role)), ports.EscrowStore)

    def escrow_folder(self) -> AgeFolder:
        """Where the escrow's files are."""
        from backupflow.adapters.copies.escrow import AgeFolder

        return self.port(AgeFolder(self.settings.keeping.escrow_dir), ports.EscrowFolder)

    def escrow_ports(self, actor: str) -> EscrowPorts:
        """What writing the escrow needs: the operator's rows, and the reader's right to open."""
        from backupflow.flows.escrow import EscrowPorts

        store, keys, keep = self.escrows("operator"), self.keys("operator"), self.settings.keeping.escrow_keep
        return EscrowPorts(store, self.escrow_folder(), self.history_ports(actor), keys, self.vault("reader"), keep)

    @cached_property
    def watches(self) -> Watches:
        """What the job `watch` needs."""
        from backupflow.adapters.db.watching import Watches

        return self.port(Watches(self.engine("operator"), self.policy), ports.WatchStore)

    @cached_property
    def retaining(self) -> Retaining:
        """What taking old configurations away needs."""
        from backupflow.adapters.db.retaining import Retaining

        return self.port(Retaining(self.engine("operator")), ports.RetentionStore)

    @cached_property
    def purging(self) -> Purging:
        """What taking history away by somebody's word needs."""
        from backupflow.adapters.db.purging import Purging

        return self.port(Purging(self.engine("operator")), ports.PurgeStore)

    def renormalize_ports(self, actor: str) -> RenormalizePorts:
        """What going over the past with a newer normalizer needs: the operator's rows, the reader's right to open."""
        from backupflow.adapters.db.renormalizing import Renormalizing
        from backupflow.core.export import NORMALIZATION_VERSION
        from backupflow.flows.renormalize import RenormalizePorts

        store = self.port(Renormalizing(self.engine("operator")), ports.RenormalizeStore)
        return RenormalizePorts(store, self.history_ports(actor), NORMALIZATION_VERSION)

    @cached_property
    def reinterpreting(self) -> Reinterpreting:
        """What having the past interpreted anew needs."""
        from backupflow.adapters.db.reinterpreting import Reinterpreting

        return self.port(Reinterpreting(self.engine("operator")), ports.ReinterpretStore)

    @cached_property
    def compacting(self) -> Compacting:
        """What taking old attempts away needs."""
        from backupflow.adapters.db.compacting import Compacting

        return self.port(Compacting(self.engine("operator")), ports.CompactingStore)

    @cached_property
    def attempts(self) -> Attempts:
        """What was tried of devices."""
        from backupflow.adapters.db.attempts import Attempts

        return Attempts(self.engine("reader"))

    @cached_property
    def snapshots(self) -> Snapshots:
        """What is kept, for who may read."""
        from backupflow.adapters.db.snapshots import Snapshots

        return self.port(Snapshots(self.engine("reader")), ports.SnapshotStore)

    @cached_property
    def timelines(self) -> Timelines:
        """What changed, for who may read."""
        from backupflow.adapters.db.timeline import Timelines

        return self.port(Timelines(self.engine("reader")), ports.TimelineStore)

    @cached_property
    def statuses(self) -> Statuses:
        """The install at one look."""
        from backupflow.adapters.db.status import Statuses

        return Statuses(self.engine("reader"), self.policy)

    def clock(self, role: str) -> datetime:
        """PostgreSQL's time of day, which is the one that counts."""
        from backupflow.adapters.db.status import Statuses

        return Statuses(self.engine(role), self.policy).clock()

    def quarantine_desk(self, role: str) -> QuarantineDesk:
        """What could not be stored; `reader` may look, `operator` give back and drop."""
        from backupflow.adapters.db.quarantined import QuarantineDesk

        return QuarantineDesk(self.engine(role))

    @cached_property
    def requests(self) -> Requests:
        """Collections asked for, and alarms cleared."""
        from backupflow.adapters.db.requests import Requests

        return self.port(Requests(self.engine("operator")), ports.RequestStore)

    def postgres_version(self, role: str) -> str:
        """The version that PostgreSQL states, for `doctor`."""
        from backupflow.adapters.db.engine import server_version

        return server_version(self.engine(role))

    def broker_version(self, role: str) -> tuple[str, str]:
        """The broker's name and version, and why it does not answer, one of them empty; for `doctor`."""
        from backupflow.adapters.broker import ask

        url = _required(self.settings.servers.redis_url, "REDIS_URL")
        status = ask(url, role, self.secret(role, "redis"), trusted=self.trusted("REDIS_URL"))
        return status.version, status.detail

    # --- set-up --------------------------------------------------------------------------------------------------

    def require_schema(self, role: str) -> str:
        """The schema's revision; SchemaOutdated if it is not the one of this version."""
        from backupflow.adapters.db.schema import require_current

        return require_current(self.engine(role), shipped("alembic"))

    def migrate(self) -> str:
        """Bring the schema to this version, as the migrator."""
        from backupflow.adapters.db.migrate import upgrade

        return upgrade(self.engine("migrator"), shipped("alembic"))

    def make_tenant(self, name: str = DEFAULT_TENANT) -> UUID:
        """A tenant with its keys, pepper and canaries; what is there already stays as it is."""
        from backupflow.core.model import Purpose

        keys = self.keys("operator")
        tenant_id, has_keys = keys.tenant(name)
        if not has_keys:
            vault = self.vault("provisioner")
            if keys.nothing_sealed(tenant_id):
                vault.delete_keys(tenant_id)  # left by a set-up that was cut off: nothing was ever sealed with them
            pepper = vault.make_keys(tenant_id)
            keys.keep(tenant_id, pepper, {purpose: vault.mark(tenant_id, purpose) for purpose in Purpose})
        return tenant_id

    def close(self) -> None:
        """Close what was opened."""
        for vault in self._vaults.values():
            vault.close()
        for bus in self._buses.values():
            bus.close()
        for engine in self._engines.values():
            engine.dispose()
        if "presence" in self.__dict__:
            self.presence.close()


class _LateSealer:
    """Opens the vault when there is something to seal: an act without credentials works while the vault is away."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """core.ports.SecretSealer."""
        return self._wiring.vault("enroller").seal_login(tenant_id, context, secret)

    def seal_logins(self, tenant_id: TenantId, secrets: Sequence[tuple[UUID, bytes]]) -> Sequence[SealedSecret]:
        """The same of many."""
        return self._wiring.vault("enroller").seal_logins(tenant_id, secrets)


def shipped(name: str) -> Path:
    """A file that is part of this version: the copy inside the wheel, else the tree's; never what lies in the cwd."""
    package = Path(__file__).parents[1]
    inside = package / "_shipped" / name
    return inside if inside.exists() else package.parent / name


def machine_authorities() -> str | None:
    """The file with the authorities that this machine trusts (SSL_CERT_FILE, else Debian's or Red Hat's place)."""
    import ssl

    usual = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    return next((file for file in usual if file and Path(file).is_file()), None)


def _required(value: str, name: str) -> str:
    if not value:
        raise SettingsInvalid(f"{name} is not set, and no install runs here that would tell it")
    return value


_of_process: dict[int, Wiring] = {}


def wiring() -> Wiring:
    """The wiring of this process, made when it is first asked for; a fork makes its own."""
    pid = os.getpid()
    known = _of_process.get(pid)
    if known is not None:
        return known
    for inherited in [other for other in _of_process if other != pid]:
        _of_process.pop(inherited, None)  # over a fork: the parent's
    return _of_process.setdefault(pid, Wiring(Settings()))  # no lock: a fork could inherit it held


def use(given: Wiring) -> None:
    """Make this the wiring of the process (the CLI finds the install that runs on a folder)."""
    _of_process[os.getpid()] = given
