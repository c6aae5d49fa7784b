"""The Celery app, and what every task has in common: bound log context, and one place for what nobody expected."""

from __future__ import annotations

import importlib.util
import warnings
from datetime import timedelta
from ssl import CERT_REQUIRED
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Celery, Task
from celery.exceptions import SecurityWarning
from celery.signals import setup_logging
from kombu.transport.redis import Channel, Transport
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from backupflow import telemetry
from backupflow.telemetry import metrics
from backupflow.wiring import shipped, wiring

if TYPE_CHECKING:
    from types import ModuleType


class TaskFailed(Exception):
    """A task met what nobody foresaw; the log has the place. It carries no message: it might quote a configuration."""


class BackupflowTask(Task):
    """Binds the log context, and lets no foreign exception out: Celery would log and send its message."""

    abstract = True
    longest: ClassVar[timedelta] = timedelta(minutes=10)  # what runs for longer, in all threads, counts as stuck

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Count its defects from 0: an increase from nothing is none to Prometheus."""
        super().on_bound(app)
        metrics.TASKS_BROKEN.labels(cls.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task."""
        telemetry.bind({"task": self.name, "task_id": self.request.id})
        try:
            with metrics.TASKS_RUNNING.labels(self.name).track_inprogress():
                return super().__call__(*args, **kwargs)
        except Exception as exc:  # the one place for what nobody expected of a task
            defect(self.name, exc)
        raise TaskFailed(self.name)


def defect(task: str, exc: Exception) -> None:
    """Log and count what nobody foresaw, of a task or of one thing that it is at."""
    metrics.TASKS_BROKEN.labels(task).inc()
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


def _configuration() -> ModuleType:
    """celeryconfig.py of this version: a stray one in the working directory would win over a bare name."""
    spec = importlib.util.spec_from_file_location("backupflow_celeryconfig", shipped("celeryconfig.py"))
    if spec is None or spec.loader is None:
        raise ImportError("celeryconfig.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _addresses() -> dict[str, Any]:
    """Read at first use, so that importing the app needs no settings."""
    found = wiring()
    told: dict[str, Any] = {"broker_url": found.broker_url(found.settings.process.role)}
    if options := found.broker_options:
        # kombu knows one class for all; left to itself it takes rediss:// for "encrypted, to whomever".
        Channel.connection_class_ssl = options.pop("connection_class")
        told["broker_use_ssl"] = {"ssl_cert_reqs": CERT_REQUIRED, **options}
    return told


# As root Celery warns of pickled messages; ours are JSON, and a one-machine install may well be root's.
warnings.filterwarnings("ignore", category=SecurityWarning, module="celery.platforms")

# A broker that has no memory left, or became a replica, is as good as away: the worker connects again until it is back.
# To kombu 5.7 that is an error of the channel, over which a worker ends.
Transport.connection_errors = (*Transport.connection_errors, OutOfMemoryError, ReadOnlyError)

app = Celery("backupflow", task_cls=BackupflowTask)
app.config_from_object(_configuration())
app.add_defaults(_addresses)


@setup_logging.connect
def _set_up_logs(**_: Any) -> None:
    process = wiring().settings.process
    telemetry.set_up_logs(process.log_format, process.log_level)
