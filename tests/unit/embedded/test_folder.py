"""The data folder: one run at a time, secrets made once and readable by their owner alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from backupflow.embedded import default_folder, open_folder
from backupflow.errors import FolderInUse, ServerUnusable


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """The next run reads the same secret; another name has another one."""
    with open_folder(tmp_path / "data") as folder:
        first = folder.secret("admin.redis")
        assert len(first) >= 43
        assert folder.secret("admin.nats") != first
    with open_folder(tmp_path / "data") as folder:
        assert folder.secret("admin.redis") == first


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Neither the rooms nor the files may be read by others, whatever the umask of the caller."""
    before = os.umask(0)
    try:
        with open_folder(tmp_path / "data") as folder:
            folder.secret("admin.redis")
            assert folder.secret_path("admin.redis").stat().st_mode & 0o777 == 0o600
            for room in (folder.path, *(folder.path / name for name in ("secrets", "run", "logs"))):
                assert room.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_a_room_of_secrets_that_was_opened_is_closed_again(tmp_path: Path) -> None:
    """A copy may have lost the modes."""
    with open_folder(tmp_path / "data") as folder:
        (folder.path / "secrets").chmod(0o755)
    with open_folder(tmp_path / "data") as folder:
        assert (folder.path / "secrets").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "../escape", "a/b", ".hidden", "Ünicode"])
def test_a_secret_has_a_plain_name(tmp_path: Path, name: str) -> None:
    """No name leads out of the room."""
    with open_folder(tmp_path / "data") as folder, pytest.raises(ValueError, match=r"^.*$"):
        folder.secret(name)


def test_two_on_one_folder_are_refused_at_once(tmp_path: Path) -> None:
    """The second one must not wait for the first, which lives."""
    began = time.monotonic()
    with (
        open_folder(tmp_path / "data"),
        pytest.raises(FolderInUse, match=f"process {os.getpid()}"),
        open_folder(tmp_path / "data", patience=timedelta(seconds=60)),
    ):
        pass
    assert time.monotonic() - began < 30


def test_the_folder_is_found_through_a_link_and_refused_there_too(tmp_path: Path) -> None:
    """One folder by two names is one folder."""
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with open_folder(tmp_path / "data"), pytest.raises(FolderInUse), open_folder(tmp_path / "link"):
        pass


def test_it_waits_for_the_last_children_of_a_run_that_was_killed(tmp_path: Path) -> None:
    """A child that inherited the lock may still write; the next run begins when it is gone."""
    script = "import os,subprocess,sys\nfrom pathlib import Path\nfrom backupflow.embedded import open_folder\n"
    script += "with open_folder(Path(sys.argv[1])) as f:\n"
    script += " subprocess.Popen(['/bin/sleep','1'],pass_fds=(f.lock,))\n os.kill(os.getpid(),9)"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "data")], check=False, env=env)
    with (
        pytest.raises(FolderInUse),
        open_folder(tmp_path / "data", patience=timedelta(0)),
    ):
        pass
    with open_folder(tmp_path / "data", patience=timedelta(seconds=30)) as folder:
        assert folder.path == tmp_path / "data"


def test_what_belongs_to_a_run_goes_with_it(tmp_path: Path) -> None:
    """Also what a killed run left behind."""
    with open_folder(tmp_path / "data") as folder:
        (folder.room("run") / "addresses.json").write_text("{}", encoding="utf-8")
    assert [path.name for path in (tmp_path / "data" / "run").iterdir()] == ["lock"]
    (tmp_path / "data" / "run" / "left").touch()
    with open_folder(tmp_path / "data") as folder:
        assert not (folder.path / "run" / "left").exists()


def test_the_name_of_the_folder_goes_with_it(tmp_path: Path) -> None:
    """The seal key is found by it after a move."""
    with open_folder(tmp_path / "data") as folder:
        name = folder.id
    (tmp_path / "data").rename(tmp_path / "moved")
    with open_folder(tmp_path / "moved") as folder:
        assert folder.id == name


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in its place is an error in one line."""
    (tmp_path / "data").touch()
    with pytest.raises(ServerUnusable, match="data folder"), open_folder(tmp_path / "data"):
        pass


def test_another_users_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root would leave files in it that its owner cannot read."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ServerUnusable, match="another user"), open_folder(tmp_path / "data"):
        pass


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_DATA_HOME": "/srv/data"}, "/srv/data/backupflow"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/op"}, "/home/op/.local/share/backupflow"),
        ({"HOME": "/home/op"}, "/home/op/.local/share/backupflow"),
    ],
)
def test_the_default_folder_follows_xdg(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    """A relative path in the variable is to be ignored, says the specification."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected)
