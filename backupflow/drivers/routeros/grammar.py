"""How RouterOS's normal form is read, what its items are called, and how they are shown without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core.tree import HEADER
from backupflow.drivers.routeros import items, masking, menus, names, secrets
from backupflow.drivers.routeros.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.model import NormalConfig
    from backupflow.core.tree import Parsed, Tree


class RouterOSGrammar:
    """The grammar of RouterOS 3 to 7; see `backupflow.core.driver.Grammar`."""

    def tree(self, normal: NormalConfig) -> Tree:
        """Split a normal form into menus."""
        return items.tree(normal)

    def parsed(self, component: str, text: str) -> Parsed:
        """Read an item of a menu, or a line of the header."""
        return items.parsed(component, text)

    def is_menu(self, component: str) -> bool:
        """Tell whether a component may be named in clear."""
        return component in {HEADER, items.TEXT} or menus.is_menu(component)

    def is_ordered(self, component: str) -> bool:
        """Tell whether a menu's items are looked at from the first to the last."""
        return items.is_ordered(component)

    def lineage(self, component: str) -> str:
        """Give the name that a menu has in the newest RouterOS."""
        return menus.lineage(component)

    def adjusts(self, component: str, item: Parsed) -> bool:
        """Tell whether an item only adjusts what is there anyway."""
        return items.adjusts(component, item)

    def identity(self, component: str, item: Parsed) -> tuple[str, ...] | None:
        """Give what stays the same when an item is edited."""
        return items.identity(component, item)

    def alias(self, component: str, item: Parsed) -> tuple[str, ...] | None:
        """Give what else an item is known by."""
        return items.alias(component, item)

    def name(self, component: str, item: Parsed, *, brief: bool = False) -> str:
        """Call an item as a person would."""
        return names.name(component, item, brief=brief)

    def named_by(self, component: str, item: Parsed) -> frozenset[str]:
        """Give the properties that the brief name of an item says already."""
        return names.named_by(component, item)

    def shown(self, value: str) -> str:
        """Write a value as a person reads it."""
        return shown(value)

    def is_secret(self, component: str, name: str) -> bool:
        """Tell whether a property is masked."""
        return secrets.is_secret(component, name)

    def masked_value(self, component: str, name: str, value: str) -> str:
        """Give a property's value without secrets."""
        return masking.masked_value(component, name, value)

    def masked_names(self, component: str, items: Sequence[Parsed]) -> Mapping[str, str]:
        """Give the names of properties that may be secrets, as they are shown."""
        return masking.masked_names(component, items)

    def masked_line(self, component: str, text: str) -> str:
        """Give an item, or a line of the header, without secrets."""
        return masking.masked_line(component, text)

    def masked(self, normal: NormalConfig) -> str:
        """Give a whole text without secrets."""
        return masking.masked(normal)
