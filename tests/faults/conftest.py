"""What is left to a soak: each takes a minute and more, and the storms of every day have its faults too."""

from __future__ import annotations

from tests.conftest import SIZE

# The checker's own breaks are unit tests; a storm kills every server under open sessions, and ends with the checker; a
# rotation that is half done goes through a day, and over a death of everything, in small too; so does each process of
# `up` that is stopped under load.
_LONG = ["test_checker.py", "test_servers_killed.py", "test_rotation.py", "test_stopping_up.py"]
collect_ignore = [] if SIZE == "soak" else _LONG
