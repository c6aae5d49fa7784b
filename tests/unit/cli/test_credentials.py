"""Keys that are given on the command line: looked at before they are sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from backupflow.cli.credentials import Source, read_login
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

KEY = ed25519.Ed25519PrivateKey.generate()
FORM = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH)
OPEN = KEY.private_bytes(*FORM, serialization.NoEncryption()).decode()
LOCKED = KEY.private_bytes(*FORM, serialization.BestAvailableEncryption(b"sesame")).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def given(tmp_path: Path, text: str, mode: int = 0o600) -> Source:
    """A file that is said to be the key."""
    file = tmp_path / "key"
    file.touch()
    file.chmod(mode)
    file.write_text(text)
    return Source(key_file=file)


def test_a_key_that_opens_is_taken(tmp_path: Path) -> None:
    """As it is, with its last line ending."""
    assert read_login("backup", given(tmp_path, OPEN)).private_key == OPEN


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (PUBLIC, 0o644, "is a public key: name the private one"),
        (PUBLIC, 0o600, "is a public key: name the private one"),
        ("hunter2\n", 0o600, "not a private key"),
        (LOCKED, 0o600, "needs its passphrase: --passphrase-file"),
    ],
    ids=["public, as it lies there", "public, private file", "a password", "locked"],
)
def test_what_opens_no_door_is_refused_before_it_is_sealed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, mode: int, says: str
) -> None:
    """Afterwards only a device that is blocked would tell."""
    with pytest.raises(typer.Exit) as ended:
        read_login("backup", given(tmp_path, text, mode))
    told = capsys.readouterr().err
    assert ended.value.exit_code == Exit.DATA
    assert says in told
    assert "chmod" not in told
    assert "hunter2" not in told


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ever."""
    with pytest.raises(typer.Exit) as ended:
        read_login("backup", given(tmp_path, OPEN, 0o640))
    assert ended.value.exit_code == Exit.REFUSED
    assert "chmod 600" in capsys.readouterr().err
