"""So that `celery -A backupflow.celery …` finds the app."""

from backupflow.tasks.app import app as app  # noqa: PLC0414
