"""Points in a device's past, as somebody types them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from backupflow.cli.options import seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.model import Seq

NOW = "now"
_DIGITS = 19  # fewer than these fit a bigint


def at(text: str | None) -> Seq | datetime | None:
    """A number of a snapshot, or a time (UTC if it names no zone); None, and `now`, is the current one."""
    from backupflow.core.model import Seq

    if text is None or text == NOW:
        return None
    if text.isascii() and text.isdigit() and len(text) < _DIGITS:
        return Seq(int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"neither a number of a snapshot nor a time such as 2026-11-20T06:00: {text!r}"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def since(text: str | None) -> datetime | None:
    """A time, or how long ago, by PostgreSQL's clock."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _ago(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _ago(text: str) -> datetime:
    try:
        return wiring().clock("reader") - timedelta(seconds=seconds(text) or 0)
    except typer.BadParameter as exc:
        raise typer.BadParameter(f"{text!r} is no time: say 7d, 12h, 2026-11-20 or 2026-11-20T06:00") from exc
