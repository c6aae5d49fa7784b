"""The key of the vault's seal: made for new storage only, and never replaced."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from backupflow.embedded import open_folder, storage_is_gone
from backupflow.embedded.openbao import SECRET, openbao
from backupflow.embedded.seal import default_seal_key, seal_stanza
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from pathlib import Path


def test_new_storage_gets_a_key_outside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 random bytes that only the owner may read, named by the folder's own name."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with open_folder(tmp_path / "data") as folder:
        stanza = seal_stanza(folder, None, is_new=True)
        key = tmp_path / "config" / "backupflow" / f"seal-{folder.id}.key"
        assert default_seal_key(folder) == key
        assert stanza["current_key"] == f"file://{key}"
        assert len(key.read_bytes()) == 32
        assert key.stat().st_mode & 0o777 == 0o600
        assert seal_stanza(folder, None, is_new=False) == stanza


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    """An operator may bring his own."""
    key = tmp_path / "my.key"
    key.write_bytes(own := secrets.token_bytes(32))
    with open_folder(tmp_path / "data") as folder:
        seal_stanza(folder, key, is_new=True)
    assert key.read_bytes() == own


def test_used_storage_never_gets_a_new_key(tmp_path: Path) -> None:
    """A missing key is an error that says which file to bring back; none is made."""
    key = tmp_path / "seal.key"
    with open_folder(tmp_path / "data") as folder:
        seal_stanza(folder, key, is_new=True)
        key.rename(tmp_path / "lost.key")
        with pytest.raises(ServerUnusable, match="bring it back"):
            seal_stanza(folder, key, is_new=False)
    assert not key.exists()


def test_another_key_is_refused(tmp_path: Path) -> None:
    """Rather an error now than a vault that stays sealed."""
    with open_folder(tmp_path / "data") as folder:
        seal_stanza(folder, tmp_path / "seal.key", is_new=True)
        (tmp_path / "other.key").write_bytes(secrets.token_bytes(32))
        with pytest.raises(ServerUnusable, match="not the key"):
            seal_stanza(folder, tmp_path / "other.key", is_new=False)


@pytest.mark.parametrize("size", [0, 31, 33, 44])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, size: int) -> None:
    """A key has 32 bytes; base64 of one has 44."""
    (tmp_path / "seal.key").write_bytes(b"x" * size)
    with open_folder(tmp_path / "data") as folder, pytest.raises(ServerUnusable, match=f"{size} bytes"):
        seal_stanza(folder, tmp_path / "seal.key", is_new=True)


def test_a_key_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """One line, with the place."""
    (tmp_path / "file").touch()
    with open_folder(tmp_path / "data") as folder, pytest.raises(ServerUnusable, match="cannot be made"):
        seal_stanza(folder, tmp_path / "file" / "seal.key", is_new=True)


def test_a_vault_whose_storage_is_gone_is_not_begun_anew(tmp_path: Path) -> None:
    """It was set up once: a new one would have other keys, and what was sealed could never be opened."""
    with open_folder(tmp_path / "data") as folder:
        assert not storage_is_gone(folder.path)
        folder.write_secret(SECRET, "{}")
        assert storage_is_gone(folder.path)
        with pytest.raises(ServerUnusable, match=r"no new keys: bring it back, docs/how-to/lost-vault\.md"):
            openbao(folder, 1, 2, seal_key=tmp_path / "seal.key", binaries=None)
    assert not (tmp_path / "seal.key").exists()
