"""`backupflow reinterpret`: what changed is found out once more."""

from __future__ import annotations

from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, InTenant, actor
from backupflow.cli.session import wiring

TOGETHER = 100  # devices whose locks are held at a time


def reinterpret(
    name: Annotated[
        str | None, typer.Argument(metavar="[DEVICE]", help="Name of the device.", show_default=False)
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every device of the tenant.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Find out once more what changed, in all that is kept.

    For a version that tells more of it, or a change that could not be read. The worker `interpret` does it, the newest
    changes first; until then `history` says of each that it is not interpreted yet. Nothing that was told is told
    again. What changed since a configuration that retention has taken away stays as it is.

    \b
    Examples:
      backupflow reinterpret core-1
      backupflow reinterpret --all
    """  # noqa: D301 - \b keeps the lines of the examples
    if (name is None) != everything:
        raise typer.BadParameter("say which: DEVICE or --all")
    tenant_id = wiring().devices("reader").tenant(tenant)
    devices = wiring().reinterpreting.devices(tenant_id, name)
    changes = sum(
        wiring().reinterpreting.void(tenant_id, devices[first : first + TOGETHER], actor())
        for first in range(0, len(devices), TOGETHER)
    )
    if as_json:
        output.as_document({"devices": len(devices), "changes": changes})
        return
    of = output.counted(len(devices), "device")
    output.say(f"{output.counted(changes, 'change')} of {of} will be interpreted anew; see `history`")
