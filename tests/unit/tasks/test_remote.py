"""What workers answer to remote control."""

from __future__ import annotations

from celery.worker.control import Panel

from backupflow.tasks.remote import ANSWERED, REFUSAL, answer_only

# Of Celery's own table; whatever a later version adds is a command until somebody has looked at it.
COMMANDS = {
    "add_consumer",
    "autoscale",
    "cancel_consumer",
    "disable_events",
    "election",
    "enable_events",
    "hello",  # takes a list of tasks to revoke
    "memdump",
    "memsample",
    "objgraph",
    "pool_grow",
    "pool_restart",
    "pool_shrink",
    "query_task",
    "rate_limit",
    "report",
    "revoke",
    "revoke_by_stamped_headers",
    "shutdown",
    "terminate",
    "time_limit",
}


def test_every_command_is_refused_and_every_question_is_not() -> None:
    """A refusal is an answer with a reason, whatever the command was given."""
    table = dict(Panel.data)
    before = dict(table)
    answer_only(table)
    assert table.keys() == before.keys()
    assert {name for name in table if table[name] is before[name]} == ANSWERED & table.keys()
    assert table.keys() - ANSWERED >= COMMANDS
    for name in table.keys() - ANSWERED:
        assert table[name](object(), state="x", msg="bye", revoked=["a"]) == {"error": REFUSAL}


def test_what_is_answered_are_questions_of_celery() -> None:
    """A name that Celery does not know would be a slip."""
    assert set(Panel.data) >= ANSWERED
