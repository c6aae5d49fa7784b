"""What seals and opens a backup of the system: a slip of a person at a terminal is answered, and repeated nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.cli import main
from backupflow.cli.system_keys import key_of

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_key_that_others_may_read_is_told_and_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A restore does not fail for it."""
    file, key = tmp_path / "it.age", tmp_path / "key.txt"
    file.write_bytes(b"age-encryption.org/v1\n-> X25519 ")
    key.write_text("AGE-SECRET-KEY-1QQQQ")
    for mode, told in ((0o644, True), (0o600, False)):
        key.chmod(mode)
        key_of(file, key, None)
        assert (f"chmod 600 {key}" in capfd.readouterr().err) is told
