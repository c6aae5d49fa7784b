"""podman with a storage of its own: whatever else is on the machine is neither seen nor touched, and all of it goes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANY = resource.RLIM_INFINITY
ENOUGH = 16_384  # of files and processes: what podman asks for by itself is refused where less is allowed
_STORAGE = """\
[storage]
driver = "overlay"
runroot = "{room}/run"
graphroot = "{room}/graph"
"""
# Locks in files: those in shared memory are common to all storages of the machine.
_CONTAINERS = """\
[containers]
default_ulimits = {limits}
log_driver = "k8s-file"
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
tmp_dir = "{room}/libpod"
[network]
network_config_dir = "{room}/networks"
"""


class EngineError(Exception):
    """podman did not do what it was told: its last words."""


class Engine:
    """Runs podman, and podman-compose, in a room of their own; `close` removes every trace."""

    def __init__(self, room: Path) -> None:
        self.room = room
        for name in ("graph", "run", "libpod", "networks"):
            (room / name).mkdir(exist_ok=True)
        allowed = {"nofile": _allowed(resource.RLIMIT_NOFILE), "nproc": _allowed(resource.RLIMIT_NPROC)}
        self.limits = [f"{name}={most}:{most}" for name, most in allowed.items()]
        runtime = shutil.which("runc") or shutil.which("crun") or ""
        containers = _CONTAINERS.format(
            room=room,
            runtime=Path(runtime).name,
            limits=json.dumps(self.limits),
        )
        (room / "containers.conf").write_text(containers)
        (room / "storage.conf").write_text(_STORAGE.format(room=room))
        self._environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
            "CONTAINERS_CONF": str(room / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(room / "storage.conf"),
            "TMPDIR": str(room),
        }

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        check: bool = True,
        seconds: float = 1200,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program with this storage; raises EngineError with its last words."""
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, check=False, timeout=seconds,
                env=self._environment | dict(environment or {}),
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise EngineError(f"{' '.join(argv[:4])}: {exc}") from exc
        if check and done.returncode:
            words = (done.stdout[-1500:] + done.stderr[-3000:]).decode("utf-8", "replace")
            raise EngineError(f"{' '.join(argv[:6])} ended with {done.returncode}:\n{words}")
        return done

    def podman(self, *argv: str, stdin: bytes = b"", check: bool = True) -> str:
        """What podman prints."""
        return self.run("podman", *argv, stdin=stdin, check=check).stdout.decode("utf-8", "replace").strip()

    def inspect(self, *argv: str) -> Any:  # noqa: ANN401 - JSON
        """What podman knows of one thing: `container NAME`, `volume NAME`."""
        return json.loads(self.podman(argv[0], "inspect", *argv[1:]))[0]

    def logs(self, container: str, lines: int = 12) -> str:
        """What a container said last."""
        done = self.run("podman", "logs", "--tail", str(lines), container, check=False)
        return (done.stdout + done.stderr).decode("utf-8", "replace").rstrip()

    def close(self) -> list[str]:
        """End and remove everything; gives what could not be removed. Images and volumes are files in the room."""
        for argv in (("rm", "--all", "--force", "--time", "0"), ("network", "prune", "--force")):
            self.podman(*argv, check=False)
        left = self._left()
        for mount in _mounts_below(self.room):
            subprocess.run(["umount", "--lazy", str(mount)], check=False)
        shutil.rmtree(self.room, ignore_errors=True)
        if self.room.exists():
            left.append(str(self.room))
        return left

    def _left(self) -> list[str]:
        asked: Mapping[str, Sequence[str]] = {
            "container": ("ps", "--all", "--quiet"),
            "network": ("network", "ls", "--quiet"),
        }
        return [
            f"{kind} {name}"
            for kind, argv in asked.items()
            for name in self.podman(*argv, check=False).split()
            if (kind, name) != ("network", "podman")  # the one that podman always has
        ]


def _allowed(which: int) -> int:
    hard = resource.getrlimit(which)[1]
    return ENOUGH if hard == ANY else min(hard, ENOUGH)


def _mounts_below(room: Path) -> list[Path]:
    """The innermost first."""
    places = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((place for place in places if place.is_relative_to(room)), reverse=True)


def why_not() -> str:
    """What is missing on this machine, as far as one sees without trying; empty: nothing."""
    if not sys.platform.startswith("linux"):
        return "containers want Linux"
    if os.geteuid() != 0:
        return "only root can make the base image"
    programs = ("podman", "podman-compose", "debootstrap", "iptables", "ldd")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)}"
    if shutil.which("runc") is None and shutil.which("crun") is None:
        return "there is no runc or crun"
    return ""


def try_one(engine: Engine) -> str:
    """Run the smallest container there is as the stack runs its own; gives why that does not work, or nothing."""
    tree = engine.room / "smallest"
    _copy_with_libraries(Path("/bin/true"), tree)
    try:
        engine.run("tar", "-C", str(tree), "-cf", str(engine.room / "smallest.tar"), ".")
        engine.podman("import", "--quiet", str(engine.room / "smallest.tar"), "localhost/smallest:1")
        engine.podman("network", "create", "--internal", "smallest")
        options = ("--rm", "--read-only", "--cap-drop", "ALL", "--memory", "64m", "--network", "smallest")
        engine.podman("run", *options, "localhost/smallest:1", "/bin/true")
    except EngineError as exc:
        return next((line for line in reversed(str(exc).splitlines()) if line.strip()), "podman runs no container")
    finally:
        engine.podman("network", "rm", "--force", "smallest", check=False)
        engine.podman("rmi", "--force", "localhost/smallest:1", check=False)
    return ""


def _copy_with_libraries(program: Path, tree: Path) -> None:
    said = subprocess.run(["ldd", str(program)], capture_output=True, check=True, text=True).stdout
    files = [Path(word) for word in said.split() if word.startswith("/")]
    for file in (program, *files):
        place = tree / file.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.resolve(), place)
