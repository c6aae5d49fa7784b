"""`rancid.conf` and what lies beside it: which groups there are, and which types of devices are RouterOS."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from backupflow.errors import BackupflowError, InputInvalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.adapters.inventories.tally import Tally
    from backupflow.adapters.inventories.texts import Texts

ROUTEROS = frozenset({"mikrotik", "routeros"})
_PLACES = ("rancid.conf", "etc/rancid.conf", "../etc/rancid.conf")
_TYPES = ("rancid.types.conf", "etc/rancid.types.conf")
_GROUPS = "LIST_OF_GROUPS"
_SAME = re.compile(r"\$\{?LIST_OF_GROUPS\}?")
_GROUP = re.compile(r"[A-Za-z0-9_.+@-]+")
_SCRIPTS = re.compile(r"\bmtrancid\b|\brancid\s+-t\s+(?:mikrotik|routeros)\b")


def groups_of(folder: Path, texts: Texts, tally: Tally) -> list[tuple[str, Path]]:
    """Each group with its `router.db`; NotFound if there is none."""
    beside = sorted(path.parent.name for path in folder.glob("*/router.db"))
    listed = _listed(folder, texts, tally)
    if listed is None and not beside and (folder / "router.db").is_file():
        return [(folder.resolve().name, folder / "router.db")]
    for group in sorted(set(beside) - set(listed)) if listed is not None else ():
        tally.one(f"{group}/router.db", f"not in {_GROUPS}: left out")
    found = []
    for group in dict.fromkeys(beside if listed is None else listed):
        path = folder / group / "router.db"
        if path.is_file():
            found.append((group, path))
        else:
            tally.one(f"{group}/router.db", f"is not there, though the group is in {_GROUPS}")
    if not found:
        raise NotFound(f"{folder} has no router.db of any group; name the folder that RANCID calls BASEDIR")
    return found


def types_of(folder: Path, texts: Texts) -> frozenset[str]:
    """What RouterOS is called here: the two names of RANCID, and types of this install that run its script."""
    names = set(ROUTEROS)
    for place in _TYPES:
        try:
            text = texts.read(folder / place)
        except BackupflowError:
            continue
        for line in text.split("\n"):
            name, _, (kind, *rest) = (*line.strip().partition(";")[:2], line.strip().partition(";")[2].split(";"))
            says = ";".join(rest).strip().lower()
            if (kind == "script" and _SCRIPTS.search(says)) or (kind == "alias" and says in names):
                names.add(name.strip().lower())
    return frozenset(names)


def _listed(folder: Path, texts: Texts, tally: Tally) -> list[str] | None:
    """The groups as `rancid.conf` lists them; None if there is none, or it does not."""
    path = next((folder / place for place in _PLACES if (folder / place).is_file()), None)
    if path is None:
        return None
    groups: list[str] | None = None
    try:
        words = shlex.split(texts.read(path), comments=True)
    except ValueError:
        raise InputInvalid(f"{path} is no text of a shell: a quote is open") from None
    for word in words:
        name, equals, value = word.rstrip(";").partition("=")
        if name == _GROUPS and equals:
            groups = [*(groups or []), *_SAME.sub("", value).split()] if _SAME.search(value) else value.split()
    if groups is None:
        return None
    strange = [group for group in groups if not _GROUP.fullmatch(group) or set(group) == {"."}]
    if strange:
        tally.one(path.name, f"{len(strange)} words in {_GROUPS} that name no folder: left out")
    return [group for group in groups if group not in strange]
