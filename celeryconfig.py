"""Celery's configuration: plain data only. The broker's address and login are set in backupflow/tasks/app.py."""

from __future__ import annotations

from kombu import Exchange, Queue

imports = [
    "backupflow.tasks.collect",
    "backupflow.tasks.events",
    "backupflow.tasks.ingest",
    "backupflow.tasks.interpret",
    "backupflow.tasks.liveness",
    "backupflow.tasks.maintain",
    "backupflow.tasks.remote",  # no tasks: what workers answer to remote control
    "backupflow.tasks.status",
]

# Each with an exchange of its own: Celery would bind them all to the default one, and each would get every message.
task_queues = [
    Queue(name, Exchange(name), routing_key=name)
    for name in ("collect.now", "collect", "collect.slow", "ingest", "interpret", "maintain", "status")
]
task_default_queue = "maintain"
task_create_missing_queues = False
task_routes = {
    "ingest.drain": {"queue": "ingest"},
    "interpret.run": {"queue": "interpret"},
    "maintain.run": {"queue": "maintain"},
    "events.send": {"queue": "maintain"},
    "status.look": {"queue": "status"},
}

# The row is the truth, a message only a hint: it is acknowledged early, never retried, and what was lost on the way
# is emitted again from the row (docs/adr/0004).
task_acks_late = False
task_reject_on_worker_lost = False
task_ignore_result = True
task_store_errors_even_if_ignored = False
task_serializer = "json"
accept_content = ["json"]
result_backend = None

worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = False  # it would run a collection twice
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_send_task_events = True  # Flower; tasks carry ids only
worker_enable_remote_control = True
worker_soft_shutdown_timeout = 0.0

broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_heartbeat = 0
broker_transport_options = {
    "visibility_timeout": 3600,
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "queue_order_strategy": "priority",  # collect.now before collect, in the order given with -Q
}

enable_utc = True
timezone = "UTC"

# No entries: periodic work is rows of the table `job`, so that a restart forgets nothing.
beat_schedule: dict[str, object] = {}
beat_scheduler = "backupflow.tasks.beat:FleetScheduler"
beat_max_loop_interval = 1
