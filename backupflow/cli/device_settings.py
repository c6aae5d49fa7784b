"""The settings of a scope, as options: what a device does not name stays with its group, site and tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.options import interval_seconds, seconds
from backupflow.core.model import SecretsPolicy, Trust
from backupflow.core.scope import SETTINGS

if TYPE_CHECKING:
    from backupflow.core.inventory import Placement


TrustFirst = Annotated[
    Trust | None,
    typer.Option(help="tofu: pin the first host key; manual: approve it first (hostkey pending).", show_default=False),
]
Unset = Annotated[
    list[str] | None,
    typer.Option(
        "--unset", metavar="SETTING", help="Take it from the scopes above again, e.g. interval.", show_default=False
    ),
]
UnsetOrWay = Annotated[
    list[str] | None,
    typer.Option(
        "--unset", metavar="SETTING", help="Take it from the scopes above again, e.g. interval, or jump.",
        show_default=False,
    ),
]  # fmt: skip


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
    who: Annotated[
        bool | None,
        typer.Option(
            "--who/--no-who",
            help="Ask the router for its own log of edits too, so that a change can be told with the user who probably "
            "made it; not where secrets are omitted, for the log has them. Written from MikroTik's manual.",
        ),
    ] = None
    interval: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How often, e.g. 6h or 15m.", show_default=False)
    ] = None
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION",
            help="When, in place of an interval: minute hour day month weekday, and a time zone unless it is UTC, "
            "e.g. '0 2 * * * Europe/Berlin'.",
            show_default=False,
        ),
    ] = None
    maintenance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WINDOW",
            help="Nobody comes by himself in these hours of each week, e.g. 'sat,sun 01:00-05:00 Europe/Berlin'; may "
            "be said several times, and takes the place of those that were said before.",
            show_default=False,
        ),
    ] = None
    command_timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long an export may take, e.g. 120s.", show_default=False)
    ] = None
    connect_timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long a connection may take to stand.", show_default=False)
    ] = None
    banner_timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long until it says that it speaks SSH.", show_default=False)
    ] = None
    login_timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long a login may take.", show_default=False)
    ] = None
    trust: TrustFirst = None

    def named(self) -> dict[str, Any]:
        """Those that were named, as core.scope knows them."""
        if self.interval is not None and self.cron is not None:
            raise typer.BadParameter("--interval or --cron, not both: the one takes the place of the other")
        if "" in {self.interval, self.cron, *(self.maintenance or ())}:
            raise typer.BadParameter("to take a word back say --unset interval, --unset cron or --unset maintenance")
        settings = {
            "legacy_ssh": self.legacy_ssh,
            "secrets": self.secrets and self.secrets.value,
            "end_mark": self.end_mark,
            "who": self.who,
            "interval_seconds": interval_seconds(self.interval),
            "cron": self.cron,
            "maintenance": self.maintenance or None,
            "command_timeout_seconds": seconds(self.command_timeout),
            "connect_timeout_seconds": seconds(self.connect_timeout),
            "banner_timeout_seconds": seconds(self.banner_timeout),
            "login_timeout_seconds": seconds(self.login_timeout),
            "trust": self.trust and self.trust.value,
        }
        return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ScopeSettings(DeviceSettings):
    """Those of a group, a site or a tenant."""

    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many sessions at a time with all of its devices.", show_default=False),
    ] = None

    def named(self) -> dict[str, Any]:
        """Those that were named, as core.scope knows them."""
        limit = {} if self.concurrency is None else {"concurrency": self.concurrency}
        return {**DeviceSettings.named(self), **limit}


@dataclass(frozen=True, slots=True)
class Placing:
    """Where a device belongs."""

    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help='Log in as this credential profile says; "": as its scopes say.', show_default=False
        ),
    ] = None
    group: Annotated[
        str | None, typer.Option(metavar="NAME", help='The group that it belongs to; "": none.', show_default=False)
    ] = None
    site: Annotated[
        str | None, typer.Option(metavar="NAME", help='The site that it stands at; "": none.', show_default=False)
    ] = None
    jump: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help='Reach it through this jump host; direct: through none; "": as its scopes say.',
            show_default=False,
        ),
    ] = None  # fmt: skip

    def placement(self) -> Placement:
        """As core.inventory knows it."""
        from backupflow.core.inventory import Placement

        return Placement(self.profile, self.group, self.site, self.jump)


Fingerprint = Annotated[
    str | None,
    typer.Option(metavar="SHA256:…", help="The only host key that may be pinned at first sight.", show_default=False),
]


def setting_name(option: str) -> str:
    """The setting that an option stands for: `command-timeout` is `command_timeout_seconds`; BadParameter if none."""
    known = {shown_name(name): name for name in SETTINGS}
    if option not in known:
        raise typer.BadParameter(f"no setting is called {option!r}; there are {', '.join(known)}")
    return known[option]


def shown_name(setting: str) -> str:
    """A setting as its option is called."""
    return setting.removesuffix("_seconds").replace("_", "-")


def shown_value(setting: str, value: object) -> str:
    """A setting's value in words."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if setting.endswith("_seconds") and isinstance(value, int | float):
        return output.span(timedelta(seconds=value)) if value >= 1 else f"{value} s"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def unset_names(options: list[str] | None) -> tuple[str, ...]:
    """The settings that are to be taken from the scopes above again."""
    return tuple(setting_name(option) for option in options or ())


def taken_back(options: list[str] | None, jump: str | None) -> tuple[tuple[str, ...], str | None]:
    """The same where there is a way too, and that way: `--unset jump` is `--jump ""`."""
    rest = [option for option in options or () if option != "jump"]
    if len(rest) == len(options or ()):
        return unset_names(rest), jump
    if jump:
        raise typer.BadParameter("--jump and --unset jump contradict each other")
    return unset_names(rest), ""
