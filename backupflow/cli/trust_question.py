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

    from backupflow.core.enrolment import Edit
    from backupflow.core.model import DeviceId, TenantId, Trust
    from backupflow.core.scopes import ScopeKind

_QUESTION = (
    "{devices} devices share one password, that of the profile {name}: whoever answers first at one of their addresses "
    "is sent it. Trust first keys (tofu), or approve each (manual)?"
)
_UNASKED = (
    "{devices} devices share the password of the profile {name}, and nobody can be asked here: each first host key "
    "waits for approval (trust=manual). Next: `hostkey scan --all`, `hostkey pending --csv`, "
    "`hostkey approve --file FILE`; or `credential edit {quoted} --trust tofu`"
)


def settle_trust(
    tenant_id: TenantId, adding: Mapping[str, int], *, new: Container[str] = (), to_password: Container[str] = ()
) -> Mapping[str, Trust]:
    """Ask once for each password profile that comes past 20 devices by so many more: profile -> answer, where asked.

    The answer stands on the profile with its audit row when this returns; without a terminal it is `manual`, and what
    to do next is said. To be called before the devices are there. `new`: profiles that are yet to be made, with
    passwords; their answers are for the caller to write (`settings.trust`). `to_password`: those that get one now.
    """
    from backupflow.flows import hostkeys

    store = wiring().trust("enroller")
    return hostkeys.settle_trust(store, tenant_id, adding, _ask, actor=actor(), new=new, to_password=to_password)


def settle_scope(kind: ScopeKind, tenant: str, name: str, profile: str) -> None:
    """The same before a group, a site or a tenant names this profile: for the devices that have no nearer login."""
    from backupflow.core import becoming

    fleet = wiring().fleet("enroller").standing([tenant])
    for scopes in fleet.tenants.values():
        later = becoming.saying(scopes, kind.value, name, profile)
        settle_trust(scopes.tenant_id, becoming.come_to(zip(fleet.devices, fleet.devices, strict=True), scopes, later))


def settle_devices(tenant: str, devices: Container[DeviceId] | str, wanted: Edit) -> None:
    """The same before devices are edited, those of these ids or one by its name."""
    from backupflow.core import becoming
    from backupflow.core.inventory import composed

    place = wanted.placement
    if (place.profile, place.group, place.site) == (None, None, None) and not wanted.forget_login:
        return
    fleet = wiring().fleet("enroller").standing([tenant])
    for scopes in fleet.tenants.values():
        pairs = [
            (known, becoming.placed(known, place, forgets_login=wanted.forget_login))
            for known in fleet.devices
            if (known.name == composed(devices) if isinstance(devices, str) else known.device_id in devices)
        ]
        settle_trust(scopes.tenant_id, becoming.come_to(pairs, scopes))


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
