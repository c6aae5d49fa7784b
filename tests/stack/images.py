"""The images of the stack: ours from the real Dockerfile, the routers', and stand-ins under the servers' own names."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack import sources
from tests.stack.compose_file import services
from tests.stack.sources import SERVERS, TREE

if TYPE_CHECKING:
    from tests.stack.engine import Engine

BASE = "localhost/backupflow-stack-base:1"
ROUTERS = "localhost/backupflow-stack-routers:1"
OURS = "localhost/backupflow-stack:1"
HERE = Path(__file__).parent
# The wheels and the word to look there are lent to the build for its time: no layer has them.
_PIP = {"no-index": "true", "find-links": "/wheels"}


def import_base(engine: Engine, tar: Path) -> None:
    """Make the base image of the files."""
    engine.podman("import", "--quiet", str(tar), BASE)


def build(engine: Engine, wheelhouse: Path) -> None:
    """Build the images of the install, ours beside the servers': no build has a network."""
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(_build_ours, engine, wheelhouse, "runtime", OURS)
        _build_servers(engine, wheelhouse)
        ours.result()


def build_routers(engine: Engine, wheelhouse: Path) -> None:
    """Build the routers' image, of which all but one layer is there by then."""
    _build_ours(engine, wheelhouse, "demo", ROUTERS)


def _build_ours(engine: Engine, wheelhouse: Path, target: str, name: str) -> None:
    (engine.room / "pip.conf").write_text(
        "\n".join(["[global]", *(f"{name} = {value}" for name, value in _PIP.items()), ""])
    )
    lent = ("--volume", f"{wheelhouse}:/wheels:ro", "--volume", f"{engine.room}/pip.conf:/etc/pip.conf:ro")
    plain = ("build", "--quiet", "--network", "none", "--pull=never", "--build-arg", f"BASE={BASE}", *lent)
    engine.podman(*plain, "--target", target, "--tag", name, "--file", str(TREE / "Dockerfile"), str(TREE))


def _build_servers(engine: Engine, wheelhouse: Path) -> None:
    context = engine.room / "servers"
    shutil.copytree(HERE / "servers", context)
    sources.unpack_servers(wheelhouse, context)
    known = services()
    for server in SERVERS:
        argv = ("--network", "none", "--pull=never", "--build-arg", f"BASE={BASE}", "--target", server)
        engine.podman("build", "--quiet", *argv, "--tag", known[server]["image"], str(context))
    shutil.rmtree(context)
