"""For whom a file is sealed: one parser for every command, which repeats nothing that could be a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.recipients import MOST_RECIPIENTS, recipients
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
OTHER = KEY.replace("z", "w")
SECRET = "AGE-SECRET-KEY-1QQQQ"  # it begins as one does, and opens nothing
MANY = [f"{KEY[:-2]}{a}{b}" for a in "qpzry" for b in "qpzry"][: MOST_RECIPIENTS + 1]


@pytest.mark.parametrize(
    ("lines", "found"),
    [([KEY], (KEY,)), ([f" {KEY}\n", "# mine", "", KEY, OTHER], (KEY, OTHER))],
)
def test_recipients_are_public_keys_each_once(lines: list[str], found: tuple[str, ...]) -> None:
    """As in a file of recipients of age; those of a command line come first."""
    assert recipients(lines) == recipients([], lines) == recipients(lines, lines) == found


BAD: Mapping[str, tuple[list[str], list[str]]] = {
    "no recipient": (["# none"], []),
    "reads the history": ([SECRET.lower()], []),
    "in that file": ([], ["# public key: of it", SECRET]),
    "secret key": ([f"key={SECRET}"], []),
    "there is a secret key": ([], ["-----BEGIN OPENSSH PRIVATE KEY-----"]),
    "keys of SSH": (["ssh-ed25519 AAAAQQQQ me@example"], []),
    "keys of SSH are not": (["ecdsa-sha2-nistp256 AAAAQQQQ me@example"], []),
    "keys of plugins": (["age1yubikey1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"], []),
    "62 characters": ([KEY[:-1]], []),
    "not a public key of age": (["a passphrase of QQQQ"], []),
    "at most": (MANY, []),
}


@pytest.mark.parametrize("says", BAD)
def test_what_is_no_recipient_is_refused_with_what_it_is(says: str) -> None:
    """Before anything is written for nobody; a secret that came by a file was not shown to the shell."""
    with pytest.raises(InputInvalid) as refused:
        recipients(*BAD[says])
    assert says in refused.value.detail
    assert "qqqq" not in refused.value.detail.lower()
    assert ("history" in refused.value.detail) == (says in {"reads the history", "secret key"})


@given(st.text("AGE-SCRETKY1Qqz ", min_size=8, max_size=80).map("W3x".__add__))
def test_nothing_of_what_is_no_recipient_is_repeated(given_text: str) -> None:
    """A secret in a wrong place is said to nobody, whatever stands before it."""
    with pytest.raises(InputInvalid) as refused:
        recipients([given_text])
    assert given_text not in str(refused.value)
