"""Every metric of ours: its name, what it says, its labels. Doors count into these objects; nothing else names one.

Labels take few values, all of them ours (codes, outcomes, jobs, queues), never what a router or a person says. Three
names are those that users of the system before this one know: `config_backup_total`, `config_backup_duration_seconds`,
`config_backup_active`; the others are `backupflow_<stage>_<what>_<unit>`. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which no rule of ours asks for
REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # CPU, memory, descriptors of this process

# Seconds: what a session with a router takes, up to the longest deadline; and what work among servers of ours takes.
_SESSION = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_ROUND = (0.01, 0.05, 0.1, 0.5, 1, 5, 20, 60, 300)
_TICK = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5)

READY_MADE: Final[list[Callable[[], bytes]]] = []  # text that was made before anybody asked for it
_END: Final = b"# EOF\n"  # of OpenMetrics, whose lines for a gauge are those of the older format


def exposition(encode: Callable[[CollectorRegistry], bytes]) -> bytes:
    """What a scrape gets."""
    told, more = encode(REGISTRY), b"".join(make() for make in READY_MADE)
    return told.removesuffix(_END) + more + _END if told.endswith(_END) else told + more


def counter(name: str, says: str, *labels: str) -> Counter:
    """One that only rises; `_total` is added to its name."""
    return Counter(name, says, labels, registry=REGISTRY)


def gauge(name: str, says: str, *labels: str) -> Gauge:
    """One that rises and falls."""
    return Gauge(name, says, labels, registry=REGISTRY)


def histogram(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    """How long things took, in seconds."""
    return Histogram(name, says, labels, buckets=buckets, registry=REGISTRY)


# --- every process
BUILD = gauge("backupflow_process_info", "What this process is; always 1.", "version", "role")
ALIVE = gauge("backupflow_process_alive", "1 while the loops of this process go round (/live).")
READY = gauge("backupflow_process_ready", "1 while this process can do its work (/ready).")
HEARTBEAT_AT = gauge(
    "backupflow_process_heartbeat_timestamp_seconds", "When this process last wrote its heartbeat, Unix time."
)
LOOP_AGE = gauge("backupflow_process_loop_age_seconds", "Since a loop of this process last went round.", "loop")
TASKS_RUNNING = gauge("backupflow_process_tasks_running", "Tasks that run at this moment.", "task")
TASK_SLOTS = gauge("backupflow_process_task_slots", "How many tasks this process runs at a time.")
TASKS_BROKEN = counter("backupflow_process_tasks_broken", "Tasks that met what nobody foresaw: defects.", "task")

# --- collect
BACKUPS = counter(
    "config_backup",
    "Backups that ended; success: sealed and handed to the bus. Tests and scans do not count.",
    "status",
)
BACKUP_STATUSES: Final = ("success", "failed", "blocked", "suspect", "publish_unknown", "unfinished", "dropped")
BACKUP_SECONDS = histogram("config_backup_duration_seconds", "From the start of a backup to its end.", _SESSION)
BACKUPS_ACTIVE = gauge("config_backup_active", "Collections that this process is at.")
COLLECTED = counter(
    "backupflow_collect_ended",
    "Collections that ended, by how and, where they failed, by error code.",
    "outcome",
    "code",
)
KNOCKS = counter("backupflow_collect_knocks", "Devices knocked at to see whether they answer again.", "answered")

# --- ingest
INGESTED = counter("backupflow_ingest_messages", "Messages taken off the bus, by what became of them.", "outcome")
INGEST_LOST = counter("backupflow_ingest_lost", "Observations that were published and that the bus did not have.")
INGEST_SECONDS = histogram("backupflow_ingest_drain_duration_seconds", "One drain of the stream.", _ROUND)

# --- interpret
INTERPRETED = counter(
    "backupflow_interpret_changes", "Stored changes that were interpreted, by what they were.", "kind"
)
INTERPRET_SECONDS = histogram("backupflow_interpret_round_duration_seconds", "One round of interpreting.", _ROUND)

# --- schedule
TICKS = counter(
    "backupflow_schedule_ticks", "Ticks of this beat; standby: another one is the one that claims.", "result"
)
TICK_SECONDS = histogram("backupflow_schedule_tick_duration_seconds", "One tick.", _TICK)
CLAIMS = counter("backupflow_schedule_claims", "Rows that the claims of this beat moved, by how.", "kind")
EMITTED = counter("backupflow_schedule_tasks_emitted", "Tasks handed to the broker.", "queue")
EMIT_FAILURES = counter("backupflow_schedule_emit_failures", "Ticks in which the broker took no tasks.")
CLAIMING_PAUSED = gauge(
    "backupflow_schedule_claiming_paused", "1 with the reason while this beat claims nothing new.", "code"
)

# --- maintain; `name` is that of the job: the label `job` is Prometheus's own, and a second one would be renamed
JOBS = counter("backupflow_maintain_jobs", "Runs of a job in this process, by how they ended.", "name", "result")
JOB_SECONDS = histogram("backupflow_maintain_job_duration_seconds", "One part of a job.", _ROUND, "name")
JOB_DID = counter("backupflow_maintain_done", "What the jobs did, of each kind.", "name", "kind")

# --- tell
TOLD = counter("backupflow_tell_events", "Events made, delivered, dropped, and attempts that failed.", "result")


# --- the whole install: told by every beat, and the same by each (tasks/gauges.py)
class Told(NamedTuple):
    """A gauge whose values are made anew, all at once, of figures of one moment; what is unknown has none."""

    name: str
    says: str
    labels: tuple[str, ...]


FLEET: Final[list[Told]] = []
DEVICE: Final = ("device", "site", "tenant")


def told(name: str, says: str, *labels: str) -> Told:
    """One of them."""
    made = Told(name, says, labels)
    FLEET.append(made)
    return made


FIGURES_AGE = told(
    "backupflow_fleet_figures_age_seconds",
    "How old the figures of the install are; past 60 they are not told any more, only this one.",
)
FIGURES_SECONDS = told("backupflow_fleet_figures_duration_seconds", "How long it took to gather them.")
FIGURES_FAILED = told("backupflow_fleet_figures_failed", "1 with the reason while they cannot be gathered.", "code")
DEVICES = told("backupflow_fleet_devices", "Devices, each counted once, as `status` counts them.", "state")
DEVICES_EXPECTED = told(
    "backupflow_fleet_devices_expected", "Devices of which a fresh observation is expected: not paused, new, held …"
)
BLOCKED = told("backupflow_fleet_blocked", "Blocked devices, by error code.", "code")
LOGINS = told("backupflow_fleet_logins_waiting", "Logins that are sent to no device: refused or suspended.", "state")
SITES_DOWN = told("backupflow_fleet_sites_down", "Sites whose devices went away together.")
HOPS_DOWN = told("backupflow_fleet_jump_hosts_in_trouble", "Jump hosts that are down, blocked or without a login.")
ALARMS = told("backupflow_fleet_alarms", "Alarms that stand, by what they make of the verdict.", "code", "level")
SERVERS = told("backupflow_fleet_server_up", "0 while an alarm says that a server is away.", "server")
PROCESSES = told("backupflow_fleet_processes", "Processes that live, by what they are.", "kind")
HEARTBEAT_AGE = told(
    "backupflow_fleet_heartbeat_age_seconds",
    "Since the last heartbeat of a process.",
    "kind",
    "host",
    "pid",
)
SLOTS = told("backupflow_schedule_slots", "Sessions at a time that the workers that live can hold.", "lane")
SLOTS_NEEDED = told("backupflow_schedule_slots_needed", "Slots of the normal lane that are busy on average.")
WINDOW = told("backupflow_schedule_window", "Rows that may be claimed and not begun.", "lane")
CLAIMED = told("backupflow_schedule_claimed", "Rows that are claimed and not begun.", "lane")
SESSIONS = told("backupflow_collect_sessions", "Collections that run, in all workers.", "lane")
UNSTORED = told("backupflow_ingest_waiting", "Observations that were read and sealed, and are not stored yet.")
UNSTORED_AGE = told("backupflow_ingest_waiting_age_seconds", "Since the first of them was read.")
STREAM_MESSAGES = told("backupflow_ingest_stream_messages", "Messages in the stream.")
STREAM_BYTES = told("backupflow_ingest_stream_bytes", "Bytes in the stream.")
STREAM_ROOM = told("backupflow_ingest_stream_room_bytes", "Bytes that the stream still takes.")
UNINTERPRETED = told("backupflow_interpret_waiting", "Changes that are stored and not interpreted yet.")
UNINTERPRETED_AGE = told("backupflow_interpret_waiting_age_seconds", "Since the first of them was stored.")
UNTOLD = told("backupflow_tell_outbox_waiting", "Rows of the outbox of which no event was made yet.")
UNTOLD_AGE = told("backupflow_tell_outbox_waiting_age_seconds", "Since the first of them was written.")
UNSENT = told("backupflow_tell_unsent", "Events that were not delivered yet, nor given up.")
JOB_AGE = told("backupflow_maintain_job_age_seconds", "Since all of a job was done last.", "name")
JOB_EVERY = told("backupflow_maintain_job_period_seconds", "How often all of a job is to be done.", "name")
INSTALL_AGE = told("backupflow_maintain_install_age_seconds", "Since the first tenant was made.")
SYSTEM_BACKUP_AGE = told("backupflow_maintain_system_backup_age_seconds", "Since the newest backup of the system.")
ESCROW_AGE = told(
    "backupflow_maintain_escrow_age_seconds", "Since the oldest of the newest escrow files, whole or not."
)
ESCROW_TENANTS = told("backupflow_maintain_escrow_tenants", "Tenants whose configurations go into escrow.")

# --- single devices: only with CONFIG_METRICS_DEVICES=1
DEVICE_STATE = told("backupflow_device_state", "1: a device is counted as this.", *DEVICE, "state")
DEVICE_SEEN_AT = told(
    "backupflow_device_last_backup_timestamp_seconds", "When its newest configuration was read, Unix time.", *DEVICE
)
DEVICE_FAILURES = told("backupflow_device_failures", "Attempts in a row that failed.", *DEVICE)
