"""`backupflow tenant remove`: a tenant with all that it has."""

from __future__ import annotations

from typing import Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, Yes, actor, confirm_typed
from backupflow.cli.scope_commands import Name
from backupflow.cli.session import wiring


def remove(
    name: Name,
    *,
    shred: Annotated[bool, typer.Option("--shred", help="Destroy its keys, its devices and their history.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a tenant for good: its keys are destroyed, so that nothing of it opens again here.

    Its devices are collected no more, their history and logins are taken away, its name is free. What the audit says of
    it stays. Who was interrupted says it once more.

    \b
    Example: backupflow tenant remove customer-1 --shred
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.cli.escrow import place
    from backupflow.flows import purging

    if not shred:
        output.stop(
            Exit.REFUSED,
            "a tenant is removed with all that it has: say --shred. To stop collecting it and keep its history: "
            "`device pause --tenant`",
        )
    house = wiring()
    doomed = house.purging.doomed(name)
    if not as_json:
        devices = output.counted(doomed.devices, "device")
        configurations = output.counted(doomed.configurations, "configuration")
        output.note(f"Tenant {name}: {devices}, {configurations}, all logins and keys will be gone for good.")
        for escrow in house.escrows("reader").every():
            if escrow.tenant_id == doomed.tenant_id:
                output.note(f"Files of its escrow stay where they are, and open with their own key: {place(escrow)}")
    confirm_typed("They cannot be brought back but by a backup of the whole system.", name, yes=yes)
    alone = house.keys("operator").alone(doomed.tenant_id)
    purging.shred(house.purging, house.vault("provisioner"), alone, doomed, actor())
    if as_json:
        output.as_document({"tenant": name, "devices": doomed.devices, "configurations": doomed.configurations})
    else:
        output.say(f"tenant {name} is gone")
