"""What an operator reads where PostgreSQL does not answer."""

from __future__ import annotations

import socket

import psycopg
import pytest

from backupflow.adapters.db.unanswered import no_answer

AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '


@pytest.mark.parametrize(
    ("says", "read"),
    [
        (
            AT + "Connection timed out\n\tIs the server running?",
            "no answer from 10.0.0.7:5432: it did not answer in time",
        ),
        (AT + "FATAL:  the database system is starting up", "no answer from 10.0.0.7:5432: it is starting"),
        (
            AT + 'FATAL:  password authentication failed for user "a"',
            "no answer from 10.0.0.7:5432: it refuses the login",
        ),
        (AT + "FATAL:  sorry, too many clients already", "no answer from 10.0.0.7:5432: it has no connection free"),
        (AT + "something new", "no answer from 10.0.0.7:5432"),
        (
            'connection to server at "db" (10.0.0.7), port 5432 failed: No route to host',
            "no answer from db:5432: no way leads there",
        ),
        ("failed to resolve host 'db.nowhere': [Errno -2] …", "no answer from db.nowhere: its name is not known"),
        ("server closed the connection unexpectedly", "no answer: it ended the connection"),
        ("the connection is lost", "no answer: it ended the connection"),
        ("connection timeout expired", "no answer: it did not answer in time"),
        ("", "no answer"),
    ],
)
def test_the_address_and_the_reason_are_told(says: str, read: str) -> None:
    """Both in words of ours; of what the server says nothing is quoted."""
    assert no_answer(says) == read


def test_what_libpq_says_today_is_understood() -> None:
    """Its words are no interface: a new version of it must fail here, not at three in the morning."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        with pytest.raises(psycopg.OperationalError) as refused:
            psycopg.connect(f"host=127.0.0.1 port={port} user=a dbname=a")
    assert no_answer(str(refused.value)) == f"no answer from 127.0.0.1:{port}: connection refused"
