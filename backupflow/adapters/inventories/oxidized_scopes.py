"""What a configuration of Oxidized says for all, for a model, for a group, and for a model within a group."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupflow.adapters.inventories.ruby_yaml import Key, Value


@dataclass(frozen=True, slots=True)
class Scope:
    """One of them; `name` is empty for what holds for all."""

    name: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    input: str | None = None
    vars: Mapping[str, Value] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, name: str, given: Mapping[Key, Value]) -> Scope:
        """What of it concerns devices."""
        named = given.get("vars")
        words = {str(key): value for key, value in named.items()} if isinstance(named, dict) else {}
        return cls(name, _word(given, "username"), _word(given, "password"), _word(given, "input"), words)


@dataclass(frozen=True, slots=True)
class Scopes:
    """All of them."""

    everywhere: Scope
    model: str | None = None  # of who names none
    groups: Mapping[str, Scope] = field(default_factory=dict)
    models: Mapping[str, Scope] = field(default_factory=dict)
    within: Mapping[tuple[str, str], Scope] = field(default_factory=dict)  # (group, model)

    @classmethod
    def of(cls, config: Mapping[Key, Value]) -> Scopes:
        """The scopes of a configuration."""
        about_input = config.get("input")
        default = about_input.get("default") if isinstance(about_input, dict) else None
        groups = dict(_named(config.get("groups")))
        within = {
            (group, model.lower()): Scope.of(f"{group}-{model}", given)
            for group, about in groups.items()
            for model, given in _named(about.get("models"))
        }
        return cls(
            Scope.of("", {**config, "input": default}),
            _word(config, "model"),
            {name: Scope.of(name, given) for name, given in groups.items()},
            {name.lower(): Scope.of(name, given) for name, given in _named(config.get("models"))},
            within,
        )

    @property
    def hold_secrets(self) -> bool:
        """Whether any password stands in the configuration."""
        return any(scope.password for scope in self.all())

    def all(self) -> Iterator[Scope]:
        """The widest first."""
        yield self.everywhere
        for kind in (self.models, self.groups, self.within):
            yield from kind.values()

    def with_wider(self) -> Iterator[tuple[Scope, tuple[Scope, ...]]]:
        """Each, the widest first, with those that count where it says nothing."""
        yield self.everywhere, ()
        for scope in (*self.models.values(), *self.groups.values()):
            yield scope, (self.everywhere,)
        for (group, model), scope in self.within.items():
            yield scope, self.nearest(group, model)[1:]

    def nearest(self, group: str | None, model: str) -> tuple[Scope, ...]:
        """Those of a node, the nearest first."""
        found = (
            self.within.get((group or "", model.lower())),
            self.groups.get(group or ""),
            self.models.get(model.lower()),
            self.everywhere,
        )
        return tuple(scope for scope in found if scope)


def _named(given: Value) -> Iterator[tuple[str, Mapping[Key, Value]]]:
    for name, about in given.items() if isinstance(given, dict) else ():
        if isinstance(name, str) and isinstance(about, dict):
            yield name, about


def _word(given: Mapping[Key, Value], name: str) -> str | None:
    """A text; a login name `nil` is none (as documented for devices that ask for a password only)."""
    found = given.get(name)
    if isinstance(found, re.Pattern) or not isinstance(found, str) or found in {"", "nil"}:
        return None
    return found
