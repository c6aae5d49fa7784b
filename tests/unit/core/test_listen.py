"""Addresses to listen on, as they stand in settings."""

from __future__ import annotations

import pytest

from backupflow.core.listen import listen_address
from backupflow.errors import InputInvalid


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:5555", ("127.0.0.1", 5555)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_host_and_port_are_told_apart(text: str, found: tuple[str, int]) -> None:
    """As it is written in an address of the web."""
    assert listen_address(text) == found


@pytest.mark.parametrize(
    "text", ["", "5555", ":5555", "host:", "host:x", "host:65536", "::1:5555", "[]:1", "a:-1", "a:\u0661"]
)
def test_anything_else_is_refused(text: str) -> None:
    """An address that names no host would be that of every network."""
    with pytest.raises(InputInvalid):
        listen_address(text)
