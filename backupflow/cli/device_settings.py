"""The settings of one device, as options: what is not named stays with its group, site and tenant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from backupflow.cli.options import seconds
from backupflow.core.model import SecretsPolicy, Trust


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What the command line says of them; None: nothing."""

    legacy_ssh: Annotated[
        bool | None,
        typer.Option(
            "--legacy-ssh/--no-legacy-ssh",
            help="Allow SHA-1, for RouterOS 6 without strong-crypto; also anew for one that spoke modern algorithms.",
        ),
    ] = None
    secrets: Annotated[
        SecretsPolicy | None,
        typer.Option(
            help="collect: ask for passwords and keys too; omit: leave them on the router (a restore then lacks them).",
            show_default=False,
        ),
    ] = None
    end_mark: Annotated[
        bool | None,
        typer.Option(
            "--end-mark/--no-end-mark",
            help="Let the router end each export with a word of ours, if it can, so that no cut goes unseen.",
        ),
    ] = None
    interval: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How often, e.g. 6h or 15m.", show_default=False)
    ] = None
    command_timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long an export may take, e.g. 120s.", show_default=False)
    ] = None
    trust: Annotated[
        Trust | None,
        typer.Option(
            help="tofu: pin the first host key; manual: approve it first (hostkey pending).", show_default=False
        ),
    ] = None

    def named(self) -> dict[str, Any]:
        """Those that were named, as core.scope knows them."""
        settings = {
            "legacy_ssh": self.legacy_ssh,
            "secrets": self.secrets and self.secrets.value,
            "end_mark": self.end_mark,
            "interval_seconds": seconds(self.interval),
            "command_timeout_seconds": seconds(self.command_timeout),
            "trust": self.trust and self.trust.value,
        }
        return {name: value for name, value in settings.items() if value is not None}
