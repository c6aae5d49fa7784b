"""`backupflow device pause`, `resume` and `unblock`, of one device or of many; and how an act on one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import bulk, device_document, output
from backupflow.cli.bulk import Chosen, MaybeName
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, Yes, actor
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.enrolment import Edit
    from backupflow.core.fleet import Candidate
    from backupflow.core.inventory import DeviceRecord
    from backupflow.flows.bulk import Part
    from backupflow.flows.enroll import Done

_Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, to be shown with it.", show_default=False)]


@with_groups
def pause(
    name: MaybeName = None,
    *,
    chosen: Chosen,
    reason: _Reason = None,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Stop collecting a device until it is resumed, or all that are chosen; their history stays.

    \b
    Examples:
      backupflow device pause core-1 --reason "the site is being rebuilt"
      backupflow device pause --site north
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.enrolment import checked_reason, paused

    why = checked_reason(reason) if reason is not None else None
    part = bulk.part_of(name, chosen, tenant)
    if part is None:
        act("pause", name or "", tenant, "paused", why, as_json=as_json)
    else:
        bulk.act_on(part, lambda record: paused(record, why), ("pause", "paused"), yes=yes, as_json=as_json)


@with_groups
def resume(
    name: MaybeName = None,
    *,
    chosen: Chosen,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Collect a device again, or all that are chosen.

    \b
    Examples:
      backupflow device resume core-1
      backupflow device resume --group access --where "name~core-*"
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.enrolment import resumed

    part = bulk.part_of(name, chosen, tenant)
    if part is None:
        act("resume", name or "", tenant, "resumed", as_json=as_json)
    else:
        bulk.act_on(part, resumed, ("resume", "resumed"), yes=yes, as_json=as_json)


@with_groups
def unblock(
    name: MaybeName = None,
    *,
    chosen: Chosen,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Try a device again at once whatever blocked it, or all that are chosen; their pins stay.

    \b
    Examples:
      backupflow device unblock core-1
      backupflow device unblock --where blocked=authentication_failed --where "version~7.1"
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.enrolment import unblocked

    part = bulk.part_of(name, chosen, tenant)
    if part is None:
        act("unblock", name or "", tenant, "unblocked", as_json=as_json)
    else:
        bulk.act_on(part, unblocked, ("unblock", "unblocked"), yes=yes, as_json=as_json)


def edit_many(part: Part, wanted: Edit, *, yes: bool, as_json: bool) -> None:
    """Change what is named of all that are chosen; asked first what a password that they come to share is worth."""
    from backupflow.flows import bulk as flow

    decide = flow.edits(wanted)

    def settle(devices: Sequence[Candidate]) -> None:
        settle_devices(part.tenant, {device.device_id for device in devices}, wanted)

    bulk.act_on(part, decide, ("edit", "edited"), yes=yes, as_json=as_json, before=settle)


def act(flow: str, name: str, tenant: str, done: str, *more: str | None, as_json: bool) -> None:
    """Do it to the one device of that name, and tell."""
    from backupflow.flows import enroll

    do: Callable[..., Done] = getattr(enroll, flow)
    tenant_id = wiring().devices("enroller").tenant(tenant)
    told(do(wiring().enroll_ports(actor()), tenant_id, name, *more), done, as_json=as_json)


def told(outcome: Done, done: str, *, as_json: bool) -> None:
    """What became of it."""
    record = outcome.device
    if as_json:
        output.as_document({"changed": outcome.changed, "device": device_document.document(record)})
    elif not outcome.changed:
        output.say(f"{record.name}: nothing to do")
    else:
        output.say(f"{record.name} {done}{when_due(record) if record.status == 'active' else ''}")


def when_due(record: DeviceRecord) -> str:
    """When it is collected next by itself."""
    due, held = record.next_due_at, record.held_until
    if due is None:
        return ""
    if held is None or held <= due:
        return f"; due in {output.span(due - record.now)}"
    return f"; tried at {output.in_words(held)}, not before: its firewall might ban us, see `device show`"
