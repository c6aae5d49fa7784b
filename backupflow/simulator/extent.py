"""How much of its configuration a router exports: all of it, one menu, or what is left when some of it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.simulator.grammar import Section

if TYPE_CHECKING:
    from backupflow.simulator.spec import RouterSpec

_GOES_ON_SINCE = (7, 11)  # after a menu that takes too long an export goes on with the next one


@dataclass(frozen=True, slots=True)
class Extent:
    """What one export shows."""

    sensitive: bool = True
    menu: str = ""  # `/ip firewall`: it and those below it
    shrunk: bool = False  # every other section is missing
    unexportable: tuple[str, ...] = ()  # menus with a marker in their place


def within(spec: RouterSpec, sections: tuple[Section, ...], extent: Extent) -> tuple[Section, ...]:
    """The sections that are exported, and those that could not be; a menu without sections has its marker last."""
    kept = [section for section in sections if f"{section.path} ".startswith(f"{extent.menu} ") or not extent.menu]
    if extent.shrunk:
        kept = kept[1::2]
    for path in extent.unexportable:
        lost = Section(path, (), _marker(spec, path))
        at = next((at for at, section in enumerate(kept) if section.path == path), len(kept))
        kept[at : at + 1] = [lost]
    return tuple(kept)


def _marker(spec: RouterSpec, path: str) -> str:
    """How a router says that it could not export a menu: three forms, by version."""
    if spec.old:
        return f"#error exporting {path}"
    return f'#error exporting "{path.replace(" ", "/")}"' + " (timeout)" * (spec.release >= _GOES_ON_SINCE)
