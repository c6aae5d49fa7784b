"""`backupflow hostkey pending`: which host keys wait for a person, and what many of them at once may be."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import key_view, output
from backupflow.cli.options import AsJson, InTenant, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.pending import PendingKey

AtSite = Annotated[str | None, typer.Option(metavar="NAME", help="Only those of a site.", show_default=False)]
OfGroup = Annotated[str | None, typer.Option(metavar="NAME", help="Only those of a group.", show_default=False)]
Since = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Only those first seen within this time.", show_default=False)
]
First = Annotated[bool, typer.Option("--first", help="Only first keys, for `hostkey approve`.")]
Changed = Annotated[bool, typer.Option("--changed", help="Only changed and unexpected ones, for `hostkey accept`.")]
AsCsv = Annotated[bool, typer.Option("--csv", "--file-form", help="Lines `name,fingerprint`, for --file of both.")]


def pending(
    *,
    site: AtSite = None,
    group: OfGroup = None,
    since: Since = None,
    first: First = False,
    changed: Changed = False,
    as_csv: AsCsv = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show the host keys that wait for a person.

    Sites where devices offer another key come first, the largest at the top: many at once are
    maintenance, or interception. First keys are those of devices that have none pinned: under
    trust=manual, or seen by a scan. Changed ones, and ones other than expected, are offered in place
    of another. Compare each with the router's own before it is trusted; `--csv` prints lines that
    can be edited and given back.

    \b
    Examples:
      backupflow hostkey pending
      backupflow hostkey pending --site north --since 6h
      backupflow hostkey pending --first --csv > compared.csv
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.pending import by_site

    if as_csv and as_json:
        raise typer.BadParameter("--csv or --json")
    tenant_id = wiring().devices("reader").tenant(tenant)
    desk = wiring().key_desk("reader")
    keys = _among(desk.pending(tenant_id, site, group), seconds(since), first=first, changed=changed)
    everywhere = desk.pending(tenant_id, site) if group or since or first or changed else keys
    sites = by_site(everywhere, desk.at_sites(tenant_id))
    if as_json:
        told = [
            {"site": one.site, "changed": one.changed, "devices": one.devices, "since": one.since}
            | {"together": one.together}
            for one in sites
        ]
        together = [one for one in told if one["together"]]
        output.as_document({"pending": [_document(key) for key in keys], "outbreaks": together, "sites": told})
        return
    for one in sites:
        if one.together or not as_csv:
            (output.note if as_csv else output.say)(key_view.outbreak_line(one))
    for line in _csv(keys) if as_csv else _lines(keys):
        output.say(line)
    if not as_csv:
        output.say(_summary(keys))


def _among(keys: Sequence[PendingKey], within: float | None, *, first: bool, changed: bool) -> Sequence[PendingKey]:
    """Those that are asked for; both kinds if none is, or both are."""
    from backupflow.core.pending import Waiting

    if first != changed:
        keys = [key for key in keys if (key.waiting is Waiting.FIRST) is first]
    if within is None:
        return keys
    since = wiring().statuses.clock() - timedelta(seconds=within)
    return [key for key in keys if key.since >= since]


def _lines(keys: Sequence[PendingKey]) -> Iterator[str]:
    for key in keys:
        where = f", site {key.site}" if key.site else ""
        blocked = ", blocked" if key.blocked else ""
        what = "jump host " if key.jump_host else ""
        yield f"{what}{key.name}: {key.waiting}, since {output.in_words(key.since)}{where}{blocked}"
        if key.facts:
            yield f"         {key_view.known_as(key.facts)}"
        for old in key.old:
            yield f"         {key.old_type or 'expected'} {old}"
        yield f"      {'→' if key.old else ' '}  {key.key_type} {key.fingerprint}"


def _csv(keys: Sequence[PendingKey]) -> Iterator[str]:
    from backupflow.core.key_file import comment, written

    for key in keys:
        old = f", was {', '.join(key.old)}" if key.old else ""
        about = f"{key.waiting}, {key.key_type}, since {output.in_words(key.since)}{old}"
        about += f"; {key_view.known_as(key.facts)}" if key.facts else ""
        if key.jump_host:
            yield comment(f"jump host {key.name}: {about}; offers {key.fingerprint}: `jump accept-key`")
        else:
            yield comment(about)
            yield written(key.name, key.fingerprint)


def _summary(keys: Sequence[PendingKey]) -> str:
    if not keys:
        return "no host key waits for anybody"
    counts = Counter(str(key.waiting) for key in keys)
    commands = {f"`hostkey {key.waiting.command}`" for key in keys if not key.jump_host}
    commands |= {"`jump accept-key`"} if any(key.jump_host for key in keys) else set()
    how = "; compare each with the router's own, then " + ", ".join(sorted(commands, reverse=True))
    return (
        ", ".join(f"{counts[kind]} {kind}" for kind in ("first", "changed", "not the expected one") if counts[kind])
        + how
    )


def _document(key: PendingKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "kind": "jump host" if key.jump_host else "device",
        "site": key.site,
        "group": key.group,
        "host": key.host,
        "port": key.port,
        "waiting": key.waiting,
        "key_type": key.key_type,
        "fingerprint": key.fingerprint,
        "old_fingerprints": list(key.old),
        "old_key_type": key.old_type,
        "first_seen_at": key.since,
        "last_seen_at": key.last_seen_at,
        "blocked": key.blocked,
        "known_as": {name: key.facts.get(name) for name in key_view.KNOWN_BY},
    }
