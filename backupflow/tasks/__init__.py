"""Door: Celery. Shims in front of the flows; cross-cutting work once, in the task base class."""
