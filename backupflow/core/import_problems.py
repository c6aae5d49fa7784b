"""What is wrong with what is wanted, that only the fleet itself can tell; never with a value of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core import becoming
from backupflow.core.importing import Asked, Fleet, Known, Problem, Wanted
from backupflow.core.inventory import DIRECT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Key = tuple[str, str]  # tenant, name
_UNKNOWN = {
    "profile": "no such profile; make it with `credential add`",
    "group": "no such group; make it with `group add`, or say --make-groups",
    "site": "no such site; make it with `site add`, or say --make-groups",
    "jump": "no such jump host; make it with `jump add`, or say `direct`",
}


def key_of(row: Wanted) -> Key:
    """By what a device is known."""
    return row.tenant or "", row.name


@dataclass(frozen=True, slots=True)
class Problems:
    """`here` are the devices by their keys, `brought` profiles that come with them."""

    fleet: Fleet
    asked: Asked
    here: Mapping[Key, Known]
    brought: Collection[Key]

    def of_rows(self, rows: Sequence[Wanted]) -> list[Problem]:
        """Names that stand twice, scopes that are not there, devices that could not be collected."""
        problems: list[Problem] = []
        seen: dict[Key, int] = {}
        for row in rows:
            first = seen.setdefault(key_of(row), row.line)
            if first != row.line:
                problems.append(Problem(row.line, "name", f"the same name as in line {first}"))
            problems += self._of_row(row)
        return problems

    def _of_row(self, row: Wanted) -> list[Problem]:
        if row.tenant not in self.fleet.tenants:
            return [Problem(row.line, "tenant", "no such tenant")]
        wrong = [Problem(row.line, column, _UNKNOWN[column]) for column in self._unknown(row)]
        if self.here.get(key_of(row)) is None and not row.host:
            wrong.append(Problem(row.line, "host", "missing; a new device needs one"))
        if row.password and row.profile:
            wrong.append(Problem(row.line, "profile", "beside a login of its own: only one of them would be used"))
        if not wrong and not row.password and not self._keeps_login(row):
            wrong.append(
                Problem(row.line, "profile", "no login: name a profile, or give its group, site or tenant one")
            )
        return wrong

    def _keeps_login(self, row: Wanted) -> bool:
        """Whether it has one then, unless it has none now either."""
        known, scopes = self.here.get(key_of(row)), self.fleet.tenants[row.tenant or ""]
        has_none = known is not None and becoming.login(known, scopes) is None
        return becoming.login(becoming.then(known, row), scopes) is not None or has_none

    def _unknown(self, row: Wanted) -> list[str]:
        scopes, makes = self.fleet.tenants[row.tenant or ""], self.asked.makes_scopes
        there = {
            "profile": not row.profile or row.profile in scopes.profiles or (row.tenant, row.profile) in self.brought,
            "group": not row.group or makes or row.group in scopes.groups,
            "site": not row.site or makes or row.site in scopes.sites,
            "jump": not row.jump or row.jump == DIRECT or row.jump in scopes.jump_hosts,
        }
        return [column for column, known in there.items() if not known]

    def of_places(self, good: Sequence[Wanted], freed: Collection[Key]) -> list[Problem]:
        """Addresses that two devices would have, when all that is wanted is done; `freed` are gone by then."""
        changing = {key_of(row) for row in good} if self.asked.update else set()
        tenants = self.fleet.tenants
        lines: dict[becoming.Place, int | None] = {
            becoming.place(known, tenants[known.tenant]): None
            for key, known in self.here.items()
            if key not in changing and key not in freed
        }
        wrong = []
        for row in sorted(
            good, key=lambda row: self.here.get(key_of(row)) is None
        ):  # whoever is here goes before who is new
            known = self.here.get(key_of(row))
            if known is not None and not self.asked.update:
                continue
            then = becoming.then(known, row)
            first = lines.setdefault(becoming.place(then, self.fleet.tenants[row.tenant or ""]), row.line)
            if first != row.line:
                other = "as a device that is here" if first is None else f"as in line {first}"
                wrong.append(Problem(row.line, "host", f"the same address and port {other}, and the same way there"))
        return wrong
