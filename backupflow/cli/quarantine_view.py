"""What `quarantine list` and `quarantine show` say. All that a message says is hostile, and shown as such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.quarantine import Compared, Looked, Quarantined

SEALED_SHOWN = 16  # characters of a sealed text: its key's version, and enough to tell two apart
FIELD_SHOWN = 80
COLUMNS = ("id", "received", "reason", "tenant", "device", "kept", "released")
_STYLES = {"differs": "red", "as recorded": "green"}

Reason = Annotated[str | None, typer.Option("--reason", help="Only those of this reason.", show_default=False)]


def list_messages(
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=20_000, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what is in quarantine, the newest first.

    Tenant and device are those that a message claims, if they exist here; nobody vouches for it.

    \b
    Examples:
      backupflow quarantine list
      backupflow quarantine list --reason wrong_subject --json
    """  # noqa: D301 - \b keeps the lines of the examples
    desk = wiring().quarantine_desk("reader")
    messages, total = desk.listed(limit, reason), desk.count(reason)
    if as_json:
        output.as_document({"total": total, "messages": [document(message) for message in messages]})
    elif not messages:
        output.say("nothing is in quarantine" + (f" for the reason {reason}" if reason else ""))
    else:
        output.show_table(COLUMNS, [_row(message) for message in messages])
        if total > len(messages):
            output.say(f"… and {total - len(messages)} more: --limit, --reason")


def show(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**63 - 1, help="Number in `quarantine list`.")],
    as_json: AsJson = False,
) -> None:
    """Show one message: why it is here, and each field as it claims against the row that it names.

    \b
    Example: backupflow quarantine show 7
    """  # noqa: D301 - \b keeps the line of the example
    looked = wiring().quarantine_desk("reader").look(number)
    if as_json:
        output.as_document(_looked_document(looked))
    else:
        _show(looked)


def document(message: Quarantined) -> dict[str, Any]:
    """A message as JSON."""
    return {
        "id": message.number,
        "received_at": message.received_at,
        "reason": message.reason,
        "subject": message.subject,
        "claimed_tenant": message.tenant,
        "claimed_device": message.device,
        "digest": message.digest.hex(),
        "size": message.size,
        "bytes_kept": message.size is not None,
        "released_at": message.released_at,
        "released_by": message.released_by,
    }


def _row(message: Quarantined) -> tuple[output.Cell, ...]:
    return (
        message.number,
        message.received_at,
        message.reason,
        output.told(message.tenant),
        output.told(message.device),
        _kept(message),
        message.released_at,
    )


def _kept(message: Quarantined) -> str:
    return "digest only" if message.size is None else f"{message.size} bytes"


def _show(looked: Looked) -> None:
    from backupflow.cli.reasons import explain

    message, why = looked.message, explain(looked.message.reason)
    output.say(f"message {message.number}, received {output.in_words(message.received_at)}, {_kept(message)}")
    output.say(f"digest  {message.digest.hex()}")
    output.say(f"reason  {message.reason}")
    output.say_long(f"        {why.means}")
    output.say_long(f"to do   {why.remedy}")
    if message.released_at:
        by = output.told(message.released_by, output.LONGEST_DETAIL)
        output.say(f"released {output.in_words(message.released_at)} by {by}")
    if looked.compared:
        output.say("")
        rows = [(one.name, _field(one.claimed), _field(one.recorded), _verdict(one)) for one in looked.compared]
        output.show_table(("field", "it claims", "the row says", ""), rows, _STYLES)
        output.say(f"sealed text: {_sealed(looked)}")
        output.say(_row_in_words(looked))


def _row_in_words(looked: Looked) -> str:
    number, named = looked.claims.collection_id, looked.named
    if named is None:
        return "it names no collection" if number is None else f"there is no collection {number}"
    return f"collection {number} is seq {named.seq} of {named.device} ({named.tenant}), and {named.state}"


def _sealed(looked: Looked) -> str:
    sealed = looked.claims.sealed
    if sealed is None:
        return "none"
    return sealed if len(sealed) <= SEALED_SHOWN else f"{sealed[:SEALED_SHOWN]}… ({len(sealed)} characters)"


def _field(value: str | None) -> str | None:
    return output.told(value, FIELD_SHOWN)


def _verdict(compared: Compared) -> str:
    if compared.recorded is None:
        return ""
    return "differs" if compared.differs else "as recorded"


def _looked_document(looked: Looked) -> dict[str, Any]:
    from backupflow.cli.reasons import explain

    why, named = explain(looked.message.reason), looked.named
    return document(looked.message) | {
        "means": why.means,
        "remedy": why.remedy,
        "fields": [
            {
                "field": one.name,
                "claimed": _field(one.claimed),
                "recorded": _field(one.recorded),
                "differs": one.differs,
            }
            for one in looked.compared
        ],
        "sealed": _sealed(looked),
        "collection": named
        and {"tenant": named.tenant, "device": named.device, "seq": named.seq, "state": named.state},
    }
