"""Every metric of ours: its name, what it says, its labels. Doors count into these objects; nothing else names one.

Labels take few values, all of them ours (codes, outcomes, jobs, queues), never what a router or a person says. Three
names are those that users of the system before this one know: `config_backup_total`, `config_backup_duration_seconds`,
`config_backup_active`; the others are `backupflow_<stage>_<what>_<unit>`. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which no rule of ours asks for
REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)  # CPU, memory, descriptors of this process

# Seconds: what a session with a router takes, up to the longest deadline; and what work among servers of ours takes.
_SESSION = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_ROUND = (0.01, 0.05, 0.1, 0.5, 1, 5, 20, 60, 300)
_TICK = (0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5)


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
TASKS_RUNNING = gauge("backupflow_process_tasks_running", "Tasks that run at this moment.", "task")
TASK_SLOTS = gauge("backupflow_process_task_slots", "How many tasks this process runs at a time.")
TASKS_BROKEN = counter("backupflow_process_tasks_broken", "Tasks that met what nobody foresaw: defects.", "task")

# --- collect
BACKUPS = counter(
    "config_backup",
    "Backups that ended; success: sealed and handed to the bus. Tests and scans do not count.",
    "status",
)
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

# --- maintain
JOBS = counter("backupflow_maintain_jobs", "Runs of a job in this process, by how they ended.", "job", "result")
JOB_SECONDS = histogram("backupflow_maintain_job_duration_seconds", "One part of a job.", _ROUND, "job")
JOB_DID = counter("backupflow_maintain_done", "What the jobs did, of each kind.", "job", "kind")

# --- tell
TOLD = counter("backupflow_tell_events", "Events made, delivered, dropped, and attempts that failed.", "result")
