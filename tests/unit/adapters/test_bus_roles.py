"""The text of the NATS users."""

from __future__ import annotations

import pytest

from backupflow.adapters.bus_roles import users_config
from backupflow.errors import SettingsInvalid


@pytest.mark.parametrize(
    "password", ["short", 'quoted"quoted', "back\\slash", "two words", "$2a$10$bcrypthash", "line\nbreak"]
)
def test_a_password_cannot_break_out_of_its_quotes(password: str) -> None:
    """What the server would read as something else than this very password is refused."""
    with pytest.raises(SettingsInvalid) as refused:
        users_config({"collector": password})
    assert password not in str(refused.value)


def test_an_unknown_role_may_do_nothing() -> None:
    """A role without rights is denied everything: an empty list would allow everything."""
    text = users_config({"reader": "long-enough-for-this"})
    assert text.count('{ deny: [">"] }') == 2
    assert "allow" not in text
