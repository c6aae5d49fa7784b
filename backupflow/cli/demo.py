"""`backupflow demo`: the whole of it with simulated routers, in a scratch folder."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from backupflow.cli import output, story
from backupflow.cli.exits import Exit
from backupflow.cli.up import installed, start_processes, stop_signals

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from backupflow.cli.up import Install
    from backupflow.core.model import TenantId
    from backupflow.simulator import Fleet, RouterSpec

ROUTERS = 25
VERSIONS = ("7.14", "6.49.7", "7.6", "7.19.1", "6.47.10")
# Short intervals and time-outs; everything else is as it is shipped.
SETTINGS = {
    "CONFIG_BACKUP_INTERVAL": "4",
    "CONFIG_BACKUP_SPREAD_FROM": "0",
    "CONFIG_BACKUP_SPREAD_TO": "4",
    "CONFIG_BACKUP_CONNECT_TIMEOUT": "3",
    "CONFIG_BACKUP_BANNER_TIMEOUT": "3",
    "CONFIG_BACKUP_LOGIN_TIMEOUT": "4",
    "CONFIG_BACKUP_COMMAND_TIMEOUT": "5",
    "FLOWER_LISTEN": "off",
}


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, until Ctrl-C.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds that a line of the story may take to become true.")] = 45.0,
) -> None:
    """Show what backupflow does, with simulated routers, in two minutes.

    \b
    Real servers and workers run in a scratch folder that is removed at the end.
    Exits with 1 if one line of the story does not hold.
    Example: backupflow demo --keep
    """  # noqa: D301 - \b keeps the lines as they stand
    from backupflow.simulator import Fleet

    stop = stop_signals()
    began = time.monotonic()

    def say(text: str) -> None:
        output.say(f"{time.monotonic() - began:6.1f} s  {text}")

    outside = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "HOME") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="backupflow-demo-") as scratch, Fleet(_routers()) as fleet:
        folder = Path(scratch)
        say(f"{len(fleet)} simulated routers listen; setting up real servers in {scratch}")
        with installed(folder / "data", folder / "seal.key", lambda _: None, outside | SETTINGS) as install:
            say("PostgreSQL, Valkey, NATS and OpenBao run, with generated logins; starting beat and the workers")
            start_processes(install)
            held = _tell(_story(install, fleet, patience), say, stop)
            if keep and not stop.is_set():
                say(f"staying up; from another terminal: backupflow --data-dir {folder / 'data'} status")
                stop.wait()
    say(f"{scratch} was taken away again, with all that was in it")
    if not held:
        raise typer.Exit(Exit.WRONG)


def _tell(the_story: story.Story, say: Callable[[str], None], stop: threading.Event) -> bool:
    say(f"{len(the_story.devices())} routers are enrolled, each login sealed before it was stored")
    failed = 0
    for step in story.STEPS:
        if stop.is_set():
            return False
        try:
            say("ok      " + step(the_story))
        except story.DoesNotHold as exc:
            failed += 1
            say(f"FAILED  {exc}")
    if failed:
        say(f"{failed} of {len(story.STEPS)} lines do not hold")
        return False
    say(f"the edit of {the_story.edited}, as `diff` shows it:")
    for line in story.shown_diff(the_story):
        output.say(f"          | {line}")
    say(f"the current export of {the_story.edited}, as it would be downloaded:")
    for line in story.shown_export(the_story):
        output.say(f"          | {line}")
    say(f"all {len(story.STEPS)} lines hold")
    return True


def _routers() -> Sequence[RouterSpec]:
    from backupflow.simulator import RouterSpec

    names = [f"{site}-r{number:02}" for site in ("ber", "ham", "muc", "fra", "lej") for number in range(1, 6)]
    return [
        RouterSpec(name, seed=number, version=VERSIONS[number % len(VERSIONS)])
        for number, name in enumerate(names[:ROUTERS])
    ]


def _story(install: Install, fleet: Fleet, patience: float) -> story.Story:
    wiring = install.wiring
    tenant_id = wiring.devices("enroller").tenant("default")
    names = list(fleet)
    locked_out, edited, impostor, mute = names[3], names[7], names[12], names[18]
    for name in names:
        _enrol(install, tenant_id, fleet, name, "not its password" if name == locked_out else "backup")
    good = tuple(name for name in names if name != locked_out)
    return story.Story(wiring, tenant_id, fleet, good, locked_out, edited, impostor, mute, patience)


def _enrol(install: Install, tenant_id: TenantId, fleet: Fleet, name: str, password: str) -> None:
    from backupflow.core.inventory import NewDevice
    from backupflow.core.model import DeviceId, Login
    from backupflow.flows import enroll

    router = fleet[name]
    new = NewDevice(tenant_id, DeviceId(uuid4()), name, router.host, router.port, "routeros", {})
    enroll.add(install.wiring.enroll_ports("demo"), new, Login("backup", password))
