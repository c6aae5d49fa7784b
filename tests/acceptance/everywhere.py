"""Every place in which something of an install may lie, be said or be seen; searched for markers."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from tests.acceptance.search import Finder, Hit

if TYPE_CHECKING:
    from tests.acceptance.install import Install
    from tests.acceptance.witness import Witness

TREE = Path(__file__).resolve().parents[2]
# Of other tests that run beside: their installs and their servers, as large as ours.
OTHERS = ("pytest-of-", "backupflow-demo-", "backupflow-tests-")


@dataclass
class Everywhere:
    """An install and what is beside it; `own`: folders of the test itself, which may hold plaintext."""

    install: Install
    witness: Witness
    own: frozenset[Path]
    began: float

    def search(self, finder: Finder) -> set[Hit]:
        """Look everywhere."""
        hits = self._in_database(finder)
        hits |= {Hit(f"folder {hit.where}", hit.marker, hit.form) for hit in finder.in_tree(self.install.root)}
        hits |= {hit for argv, said in self.install.told.items() for hit in finder.in_bytes(f"terminal {argv}", said)}
        return hits | self.witness.search(finder) | self._in_temporary(finder)

    def database(self) -> psycopg.Connection:
        """The database as its administrator."""
        url = self.install.wiring.settings.servers.database_url
        password = (self.install.data / "secrets" / "admin.postgres").read_text()
        return psycopg.connect(url, user="admin", password=password, autocommit=True)

    def _in_database(self, finder: Finder) -> set[Hit]:
        """Every row as text: large ones are compressed in the files, in a way that hides what is in them."""
        hits: set[Hit] = set()
        with self.database() as admin:
            admin.execute("CHECKPOINT")
            names = admin.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
            for (name,) in [*names, ("pg_stat_activity",)]:
                statement = sql.SQL("COPY (SELECT t::text FROM {} t) TO STDOUT").format(sql.Identifier(name))
                with admin.cursor() as cursor, cursor.copy(statement) as copy:
                    hits |= finder.in_bytes(f"table {name}", b"".join(bytes(piece) for piece in copy))
        return hits

    def _in_temporary(self, finder: Finder) -> set[Hit]:
        """Files that are new since it began, wherever a process may leave some; the tree may lie there too."""
        hits: set[Hit] = set()
        for root in {Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")}:
            for here, below, names in os.walk(root):
                below[:] = [
                    name for name in below if Path(here, name) not in {*self.own, TREE} and not name.startswith(OTHERS)
                ]
                for path in (Path(here, name) for name in names):
                    with suppress(OSError):
                        about = path.lstat()
                        if stat.S_ISREG(about.st_mode) and about.st_ctime >= self.began:
                            hits |= finder.in_file(path, f"temporary {path}")
        return hits
