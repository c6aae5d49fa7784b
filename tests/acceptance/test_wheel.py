"""The wheel works by itself: it owns its package and nothing else, and takes nothing from where it happens to run.

So that no network is needed, the empty environment borrows the libraries of this one: a folder of links to exactly what
the wheel says that it requires, and what that requires in turn, is added to its path. Neither this environment's own
backupflow (which is the tree) nor anything that only development needs is among them.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from backupflow.simulator import Fleet, Login, RouterSpec
from tests.acceptance.install import PATIENT, Install

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = PATIENT

TREE = Path(__file__).resolve().parents[2]
SITE = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
EXTRAS = ("", "embedded")
DECOYS = {
    "celeryconfig.py": "raise SystemExit('the configuration that lay in the working directory')\n",
    "alembic.ini": "[alembic]\nscript_location = alembic\n",
    "alembic/__init__.py": "raise SystemExit('the folder that lay in the working directory')\n",
    "alembic/env.py": "raise SystemExit('the migrations that lay in the working directory')\n",
    "backupflow/__init__.py": "raise SystemExit('the package that lay in the working directory')\n",
    "_shipped/celeryconfig.py": "raise SystemExit('the configuration that lay in the working directory')\n",
}


@dataclass
class Environment:
    """A virtual environment with the wheel in it, and the wheel."""

    root: Path
    wheel: Path

    @property
    def site(self) -> Path:
        """Where packages lie."""
        return self.root / SITE

    def record(self) -> set[str]:
        """The files that the wheel owns, relative to `site`."""
        (found,) = self.site.glob("backupflow-*.dist-info/RECORD")
        return {row[0] for row in csv.reader(found.read_text("utf-8").splitlines())}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, built from the tree and installed into an empty environment elsewhere."""
    place = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place), cwd=TREE)
    (wheel,) = place.glob("*.whl")
    venv.create(place / "venv", symlinks=True)
    it = Environment(place / "venv", wheel)
    python = str(it.root / "bin" / "python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    (own,) = it.site.glob("backupflow-*.dist-info")
    borrow(metadata.Distribution.at(own), place / "libraries")
    (it.site / "libraries.pth").write_text(f"{place / 'libraries' / SITE}\n")
    return it


def run(*argv: str, cwd: Path | None = None) -> str:
    """Run a program to its end; what it wrote."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def borrow(own: metadata.Distribution, prefix: Path) -> None:
    """Link what a distribution requires, all the way down, below `prefix`, as an installation would lay it out."""
    (prefix / SITE).mkdir(parents=True)
    (prefix / "bin").mkdir()
    todo, done = list(required(own, EXTRAS)), {"backupflow"}
    while todo:
        wanted = todo.pop()
        if canonical(wanted.name) in done:
            continue
        done.add(canonical(wanted.name))
        found = metadata.distribution(wanted.name)
        todo += required(found, ("", *wanted.extras))
        for file in found.files or []:
            whole = Path(str(found.locate_file(file)))
            top = prefix / SITE / file.parts[0] if file.parts[0] != ".." else prefix / "bin" / file.name
            source = whole.parents[len(file.parts) - 2] if len(file.parts) > 1 and file.parts[0] != ".." else whole
            if (file.parts[0] != ".." or "bin" in file.parts) and not top.exists():
                top.symlink_to(source.resolve())


def required(found: metadata.Distribution, extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What a distribution requires here, with these extras."""
    for line in found.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def canonical(name: str) -> str:
    """Names are compared so (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_owns_its_package_and_nothing_else(environment: Environment) -> None:
    """What is installed with it lies in `backupflow/`, in its dist-info, or is the one command."""
    own = re.compile(r"backupflow/.+|backupflow-[0-9.]+\.dist-info/.+|\.\./\.\./\.\./bin/backupflow")
    assert [name for name in environment.record() if not own.fullmatch(name)] == []
    assert (environment.root / "bin" / "backupflow").exists()


def test_the_wheel_carries_all_of_the_package(environment: Environment) -> None:
    """Every file of the tree's package, with its configuration and migrations inside, and nothing left over."""
    with zipfile.ZipFile(environment.wheel) as wheel:
        carried = {name for name in wheel.namelist() if name.startswith("backupflow/")}
    wanted = {f"backupflow/{name}" for name in files_of(TREE / "backupflow")}
    wanted |= {f"backupflow/_shipped/alembic/{name}" for name in files_of(TREE / "alembic")}
    wanted |= {"backupflow/_shipped/celeryconfig.py", "backupflow/_shipped/alembic.ini"}
    assert carried == wanted
    assert {"backupflow/py.typed", "backupflow/_shipped/alembic/env.py"} <= carried


def files_of(folder: Path) -> set[str]:
    """The files below a folder, but for what Python leaves beside its sources."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if "__pycache__" not in path.parts}


def test_everything_runs_from_the_wheel_whatever_lies_in_the_working_directory(
    environment: Environment, tmp_path: Path
) -> None:
    """`up`, a router added, collected and exported, in a folder full of files with the names of ours."""
    decoys = tmp_path / "decoys"
    for name, text in DECOYS.items():
        (decoys / name).parent.mkdir(parents=True, exist_ok=True)
        (decoys / name).write_text(text)
    install = Install(tmp_path, CONFIG_BACKUP_SPREAD_FROM=0, CONFIG_BACKUP_SPREAD_TO=0)
    install.program = [str(environment.root / "bin" / "backupflow")]
    install.cwd = decoys
    behaviour = RouterSpec("core-1").behaviour.changed({"flapping": 0.0})
    account = Login("backup", "a password")
    with Fleet([RouterSpec("core-1", logins=(account,), behaviour=behaviour)]) as fleet:
        router = fleet["core-1"]
        try:
            install.start()
            argv = ("device", "add", "core-1", "127.0.0.1", "--port", str(router.port), "--password-stdin")
            install.command(*argv, stdin=b"a password\n")
            install.command("backup", "core-1", "--wait")
            given = install.command("export", "core-1", "-o", "-").stdout
        finally:
            status = install.stop()
        expected = router.text()
    assert status == 0
    # The simulator's own form has no date in its first line.
    assert re.sub(rb"^# \S+ \S+ by", b"# by", given) == expected
    assert {str(path.relative_to(decoys)) for path in decoys.rglob("*") if path.is_file()} == set(DECOYS)


def test_the_code_that_runs_is_the_wheels(environment: Environment, tmp_path: Path) -> None:
    """And so are its configuration and its migrations; nothing of the tree is used."""
    asks = "import backupflow.wiring as w; print(w.__file__, w.shipped('celeryconfig.py'), w.shipped('alembic'))"
    said = run(str(environment.root / "bin" / "python"), "-c", asks, cwd=tmp_path).split()
    assert len(said) == 3
    assert all(Path(path).is_relative_to(environment.site) for path in said)
