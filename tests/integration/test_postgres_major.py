"""A data folder whose PostgreSQL is of another major version than the program's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from pathlib import Path

ALONE = ServerOptions(leave_out=frozenset({Server.REDIS, Server.NATS, Server.OPENBAO}), fsync=False)


def _run(data: Path) -> None:
    with open_folder(data) as folder, start_servers(folder, ALONE):
        pass


def _contents(cluster: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in cluster.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_data_of_another_major_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    """One line names both versions and the way; no file is touched, and with the right program all goes on."""
    _run(tmp_path / "data")
    cluster = tmp_path / "data" / "postgres" / "data"
    ours = (cluster / "PG_VERSION").read_text()
    (cluster / "PG_VERSION").write_text("16\n")
    before = _contents(cluster)
    with pytest.raises(ServerUnusable) as refused:
        _run(tmp_path / "data")
    assert f"of PostgreSQL 16, and the one here is {ours.strip()};" in refused.value.detail
    assert "backup-system create" in refused.value.detail
    assert "backup-system restore" in refused.value.detail
    assert "\n" not in refused.value.detail
    assert _contents(cluster) == before
    (cluster / "PG_VERSION").write_text(ours)
    _run(tmp_path / "data")
