"""`backupflow device restore`: a device that was removed is collected again."""

from __future__ import annotations

from typing import Annotated

import typer

from backupflow.cli import device_acts
from backupflow.cli.credentials import Source, read_login
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, actor
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_trust

_Name = Annotated[str, typer.Argument(metavar="DEVICE", help="The name that it had; of several the one removed last.")]
_Username = Annotated[str | None, typer.Option(help="Login name of a login of its own.", show_default=False)]


@with_groups
def restore(
    name: _Name, *, username: _Username = None, source: Source, tenant: InTenant = "default", as_json: AsJson = False
) -> None:
    """Collect a device again that was removed, with its history and its pinned host key.

    Its own login was destroyed when it was removed: give it one, unless it has a credential profile. Its history is
    there until CONFIG_RETENTION_DAYS after it was removed.

    \b
    Examples:
      backupflow device restore core-1
      backupflow device restore core-2 --username backup --password-file core-2.password
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import enroll

    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    there = devices.find_removed(tenant_id, name)
    login = None
    if source.given or username or there.username is None:
        login = read_login(username or "backup", source)
    elif (profile := there.effective.get("profile")) is not None:
        settle_trust(tenant_id, {profile[0]: 1})
    restored = enroll.restore(wiring().enroll_ports(actor()), tenant_id, name, login)
    device_acts.told(restored, "restored", as_json=as_json)
