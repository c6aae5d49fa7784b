"""Keys that are given on the command line: looked at before they are sealed."""

from __future__ import annotations

import io
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


class Terminal(io.StringIO):
    """Somebody sits there."""

    def isatty(self) -> bool:
        """He does."""
        return True


@pytest.mark.parametrize(
    ("how", "typed", "asks"),
    [
        ({}, ["s3cret"], ["Password of backup"]),
        ({"new": True}, ["s3cret"], ["Password of backup from now on"]),
        (
            {"new": True, "twice": True},
            ["s3crte", "s3cret", "s3cret", "s3cret"],
            ["New password of backup", "Again", "New password of backup", "Again"],
        ),
    ],
    ids=["known", "in place of another", "new to the routers"],
)
def test_a_password_that_no_router_has_yet_is_typed_twice(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: dict[str, bool],
    typed: list[str],
    asks: list[str],
) -> None:
    """A slip of a finger would be found out only by refusals; of two that differ neither is taken."""
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(f"{typer.prompt.__module__}.hidden_prompt_func", lambda _: typed.pop(0))
    assert read_login("backup", Source(), **how).password == "s3cret"
    screen = capsys.readouterr().err.replace("Error: The two entered values do not match.\n", "")
    assert screen.split(":")[:-1] == asks
    assert typed == []


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ever."""
    with pytest.raises(typer.Exit) as ended:
        read_login("backup", given(tmp_path, OPEN, 0o640))
    assert ended.value.exit_code == Exit.REFUSED
    assert "chmod 600" in capsys.readouterr().err
