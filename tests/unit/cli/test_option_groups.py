"""Options that several commands have, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from backupflow.cli.commands import app
from backupflow.cli.device_settings import DeviceSettings
from backupflow.cli.option_groups import with_groups
from backupflow.core.model import SecretsPolicy
from backupflow.core.scope import Policy, checked, resolve
from backupflow.errors import SettingsInvalid
from backupflow.settings import Settings
from backupflow.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Taste:
    """A group for this test."""

    size: Annotated[int, typer.Option("--size")] = 3
    sweet: Annotated[bool | None, typer.Option("--sweet/--sour")] = None


def given(*words: str) -> tuple[str, Taste, int]:
    """What a command with that group is given for these words."""
    got: list[tuple[str, Taste, int]] = []
    program = typer.Typer()

    @program.command()
    @with_groups
    def order(name: str, *, taste: Taste, count: int = 1) -> None:
        got.append((name, taste, count))

    done = CliRunner().invoke(program, list(words))
    assert done.exit_code == 0, done.output
    return got[0]


def test_a_group_is_given_as_a_value() -> None:
    """The options of a group arrive as its fields, those that are not named with their defaults."""
    assert given("x") == ("x", Taste(), 1)
    assert given("x", "--size", "7", "--sour", "--count", "2") == ("x", Taste(7, sweet=False), 2)


def options(*path: str) -> list[str]:
    """The options of a command of ours in the order of its help."""
    command = get_command(app)
    for word in path:
        command = command.commands[word]  # type: ignore[attr-defined]
    return [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]


def test_add_and_edit_have_the_same_settings() -> None:
    """What can be said when a device is enrolled can be said again later."""
    wanted = {"--legacy-ssh", "--no-legacy-ssh", "--secrets", "--end-mark", "--no-end-mark", "--interval", "--trust"}
    wanted |= {"--who", "--no-who"}
    wanted |= {"--command-timeout", "--password-stdin", "--password-file", "--key-file", "--passphrase-file"}
    assert wanted <= set(options("device", "add"))
    assert wanted <= set(options("device", "edit"))
    assert options("device", "edit").index("--new-router") < options("device", "edit").index("--password-stdin")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (DeviceSettings(), {}),
        (DeviceSettings(secrets=SecretsPolicy.OMIT), {"secrets": "omit"}),
        (DeviceSettings(end_mark=False, legacy_ssh=False), {"end_mark": False, "legacy_ssh": False}),
        (DeviceSettings(who=True), {"who": True}),
        (DeviceSettings(interval="15m"), {"interval_seconds": 900.0}),
        (DeviceSettings(command_timeout="2m"), {"command_timeout_seconds": 120.0}),
    ],
)
def test_only_what_is_named_is_set(said: DeviceSettings, named: Mapping[str, object]) -> None:
    """`no` is said too; the rest stays with the wider scopes; and the core takes each of them."""
    assert said.named() == named
    resolve(Policy(), checked(said.named()))


def test_the_default_of_all_devices_is_a_setting() -> None:
    """What no device, group, site or tenant says is said by the environment; a wrong word starts nothing."""
    assert (Settings({}).collecting.secrets, Settings({}).collecting.end_mark) == (SecretsPolicy.COLLECT, True)
    wired = Wiring(Settings({"CONFIG_BACKUP_SECRETS": "omit", "CONFIG_BACKUP_END_MARK": "false"})).policy
    assert (wired.secrets, wired.end_mark) == (SecretsPolicy.OMIT, False)
    with pytest.raises(SettingsInvalid, match="CONFIG_BACKUP_SECRETS"):
        Settings({"CONFIG_BACKUP_SECRETS": "hide"})
