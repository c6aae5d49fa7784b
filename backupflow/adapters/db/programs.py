"""PostgreSQL's own programs, pg_dump and pg_restore, streamed; the password reaches them by a file in memory only.

pg_dump must not be older than the server (www.postgresql.org/docs/17/app-pgdump.html).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from sqlalchemy import make_url

from backupflow.adapters.db.engine import CONNECT_SECONDS, ROLE_PREFIX, Postgres
from backupflow.errors import SettingsInvalid, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CHUNK: Final = 1024 * 1024
_DEBIANS = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\) ([0-9]+)")
_LAST_WORDS = 5  # lines


def find(name: str, major: int, folders: Sequence[Path]) -> Path:
    """The program in the first of these folders, of PATH or Debian's own whose version is not older than the server's.

    SettingsInvalid if there is none.
    """
    debians = sorted((path / "bin" for path in _DEBIANS.glob("[0-9]*")), reverse=True)
    on_path = shutil.which(name)
    seen: list[str] = []
    for path in [*(folder / name for folder in (*folders, *debians)), *([Path(on_path)] if on_path else [])]:
        if os.access(path, os.X_OK):
            version = _major(path)
            if version >= major:
                return path
            seen.append(f"{path} is of {version}")
    said = ", ".join(seen) or "there is none"
    raise SettingsInvalid(f"{name} of PostgreSQL {major} or newer is needed, {said}: install postgresql-client-{major}")


def _major(path: Path) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, check=False, timeout=30).stdout  # noqa: S603
    found = _VERSION.search(said.decode("utf-8", "replace"))
    return int(found[1]) if found else 0


def dump(program: Path, postgres: Postgres, snapshot: str) -> Iterator[bytes]:
    """The database as that exported snapshot sees it, in pg_dump's custom format; not which processes lived."""
    what = ["--format=custom", "--compress=gzip:1", "--no-owner", "--exclude-table-data=public.process"]
    argv = [str(program), f"--snapshot={snapshot}", *what]
    with _running(argv, postgres, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        out = _stream(running.process.stdout)
        while chunk := out.read(CHUNK):
            yield chunk
        running.succeed()


def restore(program: Path, postgres: Postgres, chunks: Iterable[bytes]) -> None:
    """Load a dump into an empty database, under a role that may do nothing elsewhere."""
    argv = [str(program), "--exit-on-error", "--no-owner", "--format=custom"]
    with _running(argv, postgres, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        into = _stream(running.process.stdin)
        try:
            for chunk in chunks:
                into.write(chunk)
            into.close()
        except BrokenPipeError:
            running.succeed()  # it ended before its input did: it says why
            raise StoreUnavailable("pg_restore ended before all was read") from None
        running.succeed()


class _Running:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._name = Path(str(process.args[0])).name if isinstance(process.args, list) else "?"
        self._said: deque[str] = deque(maxlen=_LAST_WORDS)
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def succeed(self) -> None:
        """Wait for its end; StoreUnavailable with its last words if that is not a good one."""
        status = self.process.wait()
        self._reader.join()
        if status:
            # The lines that quote rows are left out: PostgreSQL puts them behind CONTEXT and DETAIL.
            said = " | ".join(line for line in self._said if not line.startswith(("CONTEXT:", "DETAIL:")))
            raise StoreUnavailable(f"{self._name} ended with {status}: {said[:600]}")

    def bury(self) -> None:
        """Whatever became of it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                _close(stream)

    def _listen(self) -> None:
        for line in _stream(self.process.stderr):
            self._said.append(line[:400].decode("utf-8", "replace").strip())


@contextmanager
def _running(argv: list[str], postgres: Postgres, *, stdin: int, stdout: int) -> Iterator[_Running]:
    url = make_url(postgres.url)
    login = {"host": url.host, "port": url.port, "dbname": url.database, "user": ROLE_PREFIX + postgres.role}
    asked = {name: str(value) for name, value in url.query.items()} | dict(postgres.options)
    words = login | {"connect_timeout": CONNECT_SECONDS, "application_name": "backupflow backup"} | asked
    where = " ".join(f"{name}={_quoted(str(value))}" for name, value in words.items() if value is not None)
    flag = "--dbname="
    with _password_file(postgres.password) as password:
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGPASSFILE": f"/proc/self/fd/{password}"}
        process = subprocess.Popen(  # noqa: S603 - a program of PostgreSQL's, no shell
            [*argv, flag + where], env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE,
            pass_fds=[password],
        )  # fmt: skip
        running = _Running(process)
        try:
            yield running
        finally:
            running.bury()


@contextmanager
def _password_file(password: str) -> Iterator[int]:
    """A file that is in no file system; libpq takes none that others may read."""
    fd = os.memfd_create("login")
    try:
        os.fchmod(fd, 0o600)
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(fd, f"*:*:*:*:{escaped}\n".encode())
        yield fd
    finally:
        os.close(fd)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - it was asked for
    return stream


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # what it held back has no reader any more
        return
