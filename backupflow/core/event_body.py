"""What an event says, as JSON of a documented form (docs/events.md); texts of routers in it are bounded and masked."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from backupflow.core.events import Kind, severity_of
from backupflow.core.next_step import next_step, step_for_many
from backupflow.errors import LoginSuspended

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from backupflow.core.gathering import Happened, Key
    from backupflow.core.told_change import ToldChange

VERSION: Final = 1  # of the form: it grows when a field changes its meaning or goes; a new field may come at any time
NAMED: Final = 20  # devices by name
LONGEST_TEXT: Final = 300  # characters of what may quote a router
_LONGEST_NAME = 120
_LONGEST_STEP = 600
_MENUS = 5  # by name in a sentence
_ENV = "BACKUPFLOW_EVENT_"

# What a value in a configuration looks like, or a secret in a sentence, wherever it comes from.
_VALUES = re.compile(r"""([\w.-]+)=("(?:[^"\\]|\\.)*"?|'[^']*'?|\S+)""")
_NAMES = r"(?:pass(?:word|phrase|wd)?|secret|token|community|psk|(?:pre-shared|private|api|wpa2?)[-_ ]\w*key)"
_SECRETS = re.compile(rf"""(?i)\b({_NAMES}"?)(\s*[:=]\s*)("[^"]*"?|\S+)""")
_ASSIGNED = re.compile(rf"""(?i)\b({_NAMES}"?)(\s*=\s*)("[^"]*"?|\S+)""")
_SEALED = re.compile(r"vault:v\d+:\S+")
_KEYS = re.compile(r"-----BEGIN.*", re.DOTALL)


def masked(text: str, longest: int = LONGEST_TEXT) -> str:
    """One line of bounded length without control characters, and without anything that looks like a value or a key."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * longest]).split())
    return _cut(_without_secrets(_VALUES.sub(r"\1=…", _without_keys(line))), longest)


def _without_secrets(line: str) -> str:
    return _SECRETS.sub(r"\1\2…", _without_keys(line))


def _without_keys(line: str) -> str:
    return _SEALED.sub("vault:…", _KEYS.sub("…", line))


def _cut(line: str, longest: int) -> str:
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def body(event_id: UUID, key: Key, rows: Sequence[Happened], at: dt.datetime) -> str:
    """One event of these rows, in ASCII: it is kept, signed and sent byte for byte as it is here."""
    names = sorted({one.about.device for one in rows if one.about.device})
    return _text(
        {
            "version": VERSION,
            "id": webhook_id(event_id),
            "kind": key.kind.value,
            "code": key.code,
            "severity": severity_of(key.kind, key.code).value,
            "at": _time(at),
            "since": _time(min(one.since for one in rows)),
            "tenant": _name(rows[0].about.tenant),
            "site": _name(rows[0].about.site) if key.place or len({one.about.site for one in rows}) == 1 else None,
            "devices": [_name(name) for name in names[:NAMED]],
            "device_count": len(names),
            **_counts(rows[0].about.change),
            "text": _says(key, rows, names),
            "remedy": _remedy(key, rows, names),
        }
    )


def trial_body(event_id: UUID, at: dt.datetime) -> str:
    """One that says nothing but that the hook works."""
    return _text(
        {
            "version": VERSION, "id": webhook_id(event_id), "kind": Kind.TEST.value, "code": "test",
            "severity": severity_of(Kind.TEST, "test").value, "at": _time(at), "since": _time(at), "tenant": None,
            "site": None, "devices": [], "device_count": 0, **_counts(None),
            "text": "somebody tries the hook: all is well", "remedy": "",
        }
    )  # fmt: skip


def with_changes(text: str, lines: Sequence[str]) -> str:
    """The same event with what was sealed apart from it: of the same two it is the same, byte for byte."""
    said: dict[str, Any] = json.loads(text)
    # Their driver has masked them: where a sentence says "secret: …", a line has the name of a menu or an item.
    return _text({**said, "changes": [_ASSIGNED.sub(r"\1\2…", _without_keys(line)) for line in lines]})


def webhook_id(event_id: UUID) -> str:
    """The same for every attempt: whoever was told twice knows it by this."""
    return f"evt_{event_id.hex}"


def environment(text: str) -> Mapping[str, str]:
    """What a command is told beside its input: each field as text, the devices one a line.

    Without the lines of a change: an environment is handed on to all that is started, and lands in logs.
    """
    said: dict[str, Any] = json.loads(text)
    said.pop("changes", None)
    lines = {name: "\n".join(value) if isinstance(value, list) else value for name, value in said.items()}
    return {f"{_ENV}{name.upper()}": "" if value is None else str(value) for name, value in lines.items()}


def _counts(change: ToldChange | None) -> Mapping[str, Any]:
    return {
        "seq": change.seq if change else None,
        "after_seq": change.after_seq if change else None,
        "change_count": change.changes if change else 0,
        "components": [_name(one) for one in change.components[:NAMED]] if change else [],
        "changes": [],  # they are sealed: see `with_changes`
    }


def _says_changed(change: ToldChange, who: str) -> str:
    if change.kind == "unread":
        return masked(f"{who}: changed; what changed could not be read")
    what = f"{change.changes:,} change{'' if change.changes == 1 else 's'}"
    upgraded = "upgraded, " if change.kind == "upgrade" else ""
    where = ", ".join(change.components[:_MENUS]) + (", …" if len(change.components) > _MENUS else "")
    lines = f"+{change.lines_added:,} -{change.lines_removed:,} lines"
    return masked(f"{who}: {upgraded}{what}{f' in {where}' if where else ''} ({lines})")


def _says(key: Key, rows: Sequence[Happened], names: Sequence[str]) -> str:
    what, who = key.code.replace("_", " "), _who(rows, names)
    if key.kind is Kind.RECOVERED:
        return masked(f"{who}: {what} is over")
    if rows[0].about.change is not None:
        return _says_changed(rows[0].about.change, who)
    details = list(dict.fromkeys(one.about.detail for one in rows if one.about.detail))
    if len(rows) == 1:
        return masked(details[0] if details else f"{who}: {what}")
    more = f"; first: {details[0]}" if details else ""
    return masked(f"{who}: {what}{more}")


def _who(rows: Sequence[Happened], names: Sequence[str]) -> str:
    about = rows[0].about
    if len(names) > 1:
        return f"{len(names):,} devices" + (f" at site {about.site}" if about.site and rows[0].place else "")
    if names:
        return names[0]
    if about.jump_host:
        return f"jump host {about.jump_host}"
    if about.site:
        return f"site {about.site}"
    if about.profile:
        return f"login {about.profile}"
    return rows[0].scope if len({one.scope for one in rows}) == 1 else f"{len(rows):,} times"


def _remedy(key: Key, rows: Sequence[Happened], names: Sequence[str]) -> str:
    """The command line that `status` shows for the same, or the page that says more; of a change what shows it."""
    if key.kind is Kind.RECOVERED:
        return ""
    about, profiles = rows[0].about, {one.about.profile for one in rows}
    if about.change is not None and about.device is not None:
        return _printable(f"`diff {shlex.quote(about.device)} {about.change.after_seq} {about.change.seq}`")
    profile = about.profile if len(profiles) == 1 else None
    step: str | None = None
    if len(names) > 1:
        step = step_for_many(key.code, profile, by_key=about.by_key, taken=about.taken)
    elif names:
        step = next_step(key.code, names[0], profile, by_key=about.by_key, taken=about.taken)
    elif about.jump_host:
        step = next_step(key.code, about.jump_host) or f"`jump show {shlex.quote(about.jump_host)}`"
    elif profile:
        step = next_step(key.code, "", profile) or next_step(LoginSuspended.code, "", profile)
    return _printable(step)[:_LONGEST_STEP] if step else f"docs/runbook/{key.code}.md"


def _name(name: str | None) -> str | None:
    if name is None:
        return None
    shown = _printable(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _time(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _text(said: Mapping[str, Any]) -> str:
    return json.dumps(said, separators=(",", ":"))
