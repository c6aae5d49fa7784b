"""The one question that many devices with one password raise: what the key of whoever answers first is worth."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer

from backupflow.cli import output
from backupflow.cli.options import actor
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from backupflow.core.model import TenantId, Trust

_QUESTION = (
    "{devices} devices share one password, that of the profile {name}: whoever answers first at one of their addresses "
    "is sent it. Trust first keys (tofu), or approve each (manual)?"
)
_UNASKED = (
    "{devices} devices share the password of the profile {name}, and nobody can be asked here: each first host key "
    "waits for approval (trust=manual). Next: `hostkey scan --all`, `hostkey pending --csv`, "
    "`hostkey approve --file FILE`; or `credential edit {quoted} --trust tofu`"
)


def settle_trust(tenant_id: TenantId, adding: Mapping[str, int], *, new: Container[str] = ()) -> Mapping[str, Trust]:
    """Ask once for each password profile that comes past 20 devices by so many more: profile -> answer, where asked.

    The answer stands on the profile with its audit row when this returns; without a terminal it is `manual`, and what
    to do next is said. To be called before the devices are there. `new`: profiles that are yet to be made, with
    passwords; their answers are for the caller to write (`settings.trust`).
    """
    from backupflow.flows import hostkeys

    return hostkeys.settle_trust(wiring().trust("enroller"), tenant_id, adding, _ask, actor=actor(), new=new)


def _ask(name: str, devices: int) -> Trust:
    from backupflow.core.model import Trust

    if not sys.stdin.isatty():
        output.note(_UNASKED.format(devices=devices, name=name, quoted=shlex.quote(name)))
        return Trust.MANUAL
    question = output.visible(_QUESTION.format(devices=f"{devices:,}", name=name))
    while True:
        answer: str = typer.prompt(question, default="", show_default=False, err=True)
        if answer.strip().lower() in set(Trust):
            return Trust(answer.strip().lower())
        question = "tofu or manual?"
