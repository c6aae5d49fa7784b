"""What a person is told to do about one device."""

from __future__ import annotations

import pytest

from backupflow.cli.next_step import _STEPS, next_step
from tests.unit.test_pages import complaint, spans


@pytest.mark.parametrize("code", _STEPS)
def test_each_command_of_a_step_can_be_typed(code: str) -> None:
    """Whoever copies it at night must not find that it is none of ours; a name with a blank is quoted."""
    step = next_step(code, "core 1")
    assert step
    commands = [span for span in spans(step) if not span.startswith("/")]
    assert commands
    assert [why for line in commands if (why := complaint(line))] == []
    assert all("'core 1'" in line for line in commands)


def test_a_fall_back_to_sha1_is_no_matter_of_another_key() -> None:
    """None was seen: there is none to accept; and for another key, SHA-1 must not be allowed by mistake."""
    fell_back, other_key = (next_step(code, "core-1") for code in ("ssh_downgraded", "host_key_mismatch"))
    assert fell_back
    assert other_key
    assert "hostkey accept" not in fell_back
    assert "`device edit core-1 --legacy-ssh`" in fell_back
    assert "`device replaced core-1`" in fell_back
    assert "--legacy-ssh" not in other_key


def test_what_is_in_doubt_is_looked_at_before_it_is_believed() -> None:
    """An operator's word for an export that nobody has seen would be worth nothing."""
    step = next_step("export_suspect", "core-1")
    assert step
    looks = (step.index("`snapshots core-1 --aside`"), step.index("`export core-1 --aside`"))
    assert max(looks) < step.index("`device believe core-1`")


def test_a_code_of_nobodys_has_no_step() -> None:
    """Its own message says what to do."""
    assert next_step("device_timeout", "core-1") is None
    assert next_step(None, "core-1") is None
