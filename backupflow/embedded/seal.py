"""The key of OpenBao's seal: 32 random bytes in a file outside the data folder. Folder and key: all secrets."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from backupflow.embedded.folder import DataFolder, write_private
from backupflow.errors import ServerUnusable

_LENGTH = 32  # AES-256
_KEY_ID = "seal-key-id"


def default_seal_key(folder: DataFolder) -> Path:
    """Where the key of this folder lies if nobody says otherwise (XDG base directory specification)."""
    return _default(folder.id)


def missing_key(data_dir: Path) -> Path | None:
    """Where the key of a folder that nobody has opened should lie, and does not; None if there is nothing to miss.

    That is so too if the folder is another user's, whose home is another one.
    """
    try:
        name = (data_dir / "id").read_text(encoding="utf-8").strip()
        if (data_dir / _KEY_ID).stat().st_uid != os.geteuid():
            return None
    except OSError:
        return None
    path = _default(name)
    try:
        path.stat()
    except OSError:
        return path
    return None


def _default(folder_id: str) -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    config = Path(home) if home.startswith("/") else Path.home() / ".config"
    return config / "backupflow" / f"seal-{folder_id}.key"


def seal_stanza(folder: DataFolder, path: Path | None, *, is_new: bool) -> dict[str, object]:
    """The seal for OpenBao's configuration; the key is made only for new storage.

    Raises ServerUnusable if the key is missing, is none, or is not the one that this storage was sealed with.
    """
    path = (path or default_seal_key(folder)).absolute()
    if is_new and not path.exists():
        make_key(path)
    key_id = identify(path)
    known = folder.path / _KEY_ID
    if is_new:
        write_private(known, key_id + "\n")
    elif known.exists() and known.read_text(encoding="utf-8").strip() != key_id:
        raise ServerUnusable(f"{path} is not the key that this data folder was sealed with; bring that one back")
    return stanza(key_id, path)


def stanza(key_id: str, path: Path) -> dict[str, object]:
    """The seal as it stands in OpenBao's configuration; `path` as OpenBao will see it."""
    return {"current_key_id": key_id, "current_key": f"file://{path}"}


def make_key(path: Path) -> None:
    """A new key in a file that its owner alone may read; ServerUnusable if that cannot be."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(fd)
    except OSError as exc:
        raise ServerUnusable(f"the key of the vault's seal cannot be made: {path}: {exc.strerror}") from exc


def identify(path: Path) -> str:
    """A name that follows from the key, as OpenBao asks for; it tells nothing about 256 random bits.

    ServerUnusable if the file cannot be read or is no key.
    """
    try:
        key = path.read_bytes()
    except OSError as exc:
        raise ServerUnusable(
            f"the key of the vault's seal, {path}, cannot be read: {exc.strerror}; without it nothing in this data "
            "folder can be opened: bring it back, or name it with --seal-key"
        ) from exc
    if len(key) != _LENGTH:
        raise ServerUnusable(f"{path} is not a key: it has {len(key)} bytes, not {_LENGTH}")
    return hashlib.sha256(b"backupflow seal key: " + key).hexdigest()[:16]
