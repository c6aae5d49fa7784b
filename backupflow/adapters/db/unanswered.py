"""Why no connection to PostgreSQL came about, as libpq says it, in words of ours: they quote nothing but the address.

A server that refuses a connection gives no SQLSTATE to psycopg 3: its text is all there is.
"""

from __future__ import annotations

import re

_AT = re.compile(r'connection to server at "([^"\s]+)"(?: \([^)\s]*\))?, port (\d+) failed')
_NAME = re.compile(r"failed to resolve host '([^'\s]+)'")
# Pieces of what libpq, the resolver and the server say, in lower case; the first that is found counts.
_SAYS = (
    ("failed to resolve host", "its name is not known"),
    ("name or service not known", "its name is not known"),
    ("name resolution", "its name is not known"),
    ("connection refused", "connection refused"),
    ("timeout expired", "it did not answer in time"),
    ("timed out", "it did not answer in time"),
    ("no route to host", "no way leads there"),
    ("network is unreachable", "no way leads there"),
    ("authentication failed", "it refuses the login"),
    ("pg_hba.conf", "it refuses the login"),
    ("starting up", "it is starting"),
    ("shutting down", "it is stopping"),
    ("recovery mode", "it is starting after a crash"),
    ("too many clients", "it has no connection free"),
    ("connection slots", "it has no connection free"),
    ("closed the connection", "it ended the connection"),
    ("connection reset", "it ended the connection"),
    ("connection is lost", "it ended the connection"),
    ("terminating connection", "it ended the connection"),
)  # fmt: skip


def no_answer(says: str) -> str:
    """From where none came, and why, as far as the text tells: "no answer from 127.0.0.1:5432: connection refused"."""
    at, name, said = _AT.search(says), _NAME.search(says), says.lower()
    where = f"{at[1]}:{at[2]}" if at else name[1] if name else ""
    why = next((meant for piece, meant in _SAYS if piece in said), "")
    return ": ".join(part for part in (f"no answer from {where}" if where else "no answer", why) if part)
