"""What seals and opens a backup of the system: a slip of a person at a terminal is answered, and repeated nowhere."""

from __future__ import annotations

import pytest

from backupflow.cli import main


@pytest.mark.parametrize("command", [("backup-system", "create", "it.age"), ("escrow", "enable")], ids=" ".join)
def test_a_secret_key_in_the_place_of_a_public_one_is_not_printed(
    command: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """It would stand in cron's mail and in the journal; both commands know one, and say what to do."""
    with pytest.raises(SystemExit) as ended:
        main([*command, "--recipient", "AGE-SECRET-KEY-1QQQQ"])
    shown = capfd.readouterr()
    assert ended.value.code == 65
    assert "that is a secret key: give the public one" in shown.err
    assert "QQQQ" not in shown.out + shown.err
