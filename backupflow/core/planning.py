"""(The fleet as it stands, what is wanted of it) -> the plan of an import."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupflow.core import becoming
from backupflow.core.import_problems import Key, Problems, key_of
from backupflow.core.importing import (
    Asked,
    Changed,
    Fleet,
    Known,
    Orphans,
    Plan,
    Problem,
    TenantScopes,
    Wanted,
    WantedProfile,
    gone_from,
)
from backupflow.core.inventory import OWN_LOGIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def plan(standing: Fleet, wanted: Iterable[Wanted], asked: Asked, profiles: Sequence[WantedProfile] = ()) -> Plan:
    """What an import does. `profiles` come with it; a row without a tenant is of the one that was asked for."""
    rows = [row if row.tenant else replace(row, tenant=asked.tenant) for row in wanted]
    return _Planning(standing, asked, profiles).of(rows)


@dataclass(frozen=True, slots=True)
class _Planning:
    standing: Fleet
    asked: Asked
    profiles: Sequence[WantedProfile]
    here: dict[Key, Known] = field(default_factory=dict)
    brought: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.here.update({(known.tenant, known.name): known for known in self.standing.devices})
        self.brought.update((profile.tenant or self.asked.tenant, profile.name) for profile in self.profiles)

    def of(self, rows: Sequence[Wanted]) -> Plan:
        checks = Problems(self.standing, self.asked, self.here, self.brought)
        problems = checks.of_rows(rows)
        while True:  # a row that is left out may leave its device where another one wants to be
            bad = {problem.line for problem in problems}
            good = [row for row in rows if row.line not in bad]
            taken = checks.of_places(good, self._freed(rows, whole=not bad))
            if not taken:
                return self._planned(rows, good, tuple(sorted(problems, key=lambda problem: problem.line)))
            problems += taken

    def _planned(self, rows: Sequence[Wanted], good: Sequence[Wanted], problems: tuple[Problem, ...]) -> Plan:
        both = [(row, known, becoming.differences(known, row)) for row in good if (known := self._known(row))]
        different = tuple(Changed(known, row, what) for row, known, what in both if what)
        missing = self._missing(rows)
        return Plan(
            added=tuple(row for row in good if self._known(row) is None),
            changed=different if self.asked.update else (),
            differing=() if self.asked.update else different,
            unchanged=tuple(known for _, known, what in both if not what),
            missing=missing,
            gone=self._gone(missing, whole=not problems),
            back=tuple(known for _, known, _ in both if self._was_gone(known)),
            comes_to=self._come_to(good),
            makes=(*self._made_scopes(good), *self._made_profiles()),
            problems=problems,
            remarks=tuple(remark for row in good for remark in self._remarks(row)),
        )

    def _known(self, row: Wanted) -> Known | None:
        return self.here.get(key_of(row))

    def _scopes(self, row: Wanted) -> TenantScopes:
        return self.standing.tenants[row.tenant or ""]

    # --- what is missing, and what is made -----------------------------------------------------------------------

    def _missing(self, rows: Sequence[Wanted]) -> tuple[Known, ...]:
        named = {key_of(row) for row in rows}
        tenants = {tenant for tenant, _ in named}
        if self.asked.orphans is Orphans.PAUSE:  # an inventory that has nothing any more is heard as well
            tenants.add(self.asked.tenant)
        there = [known for key, known in self.here.items() if key[0] in tenants and key not in named]
        ours = [known for known in there if known.name not in self.asked.held]
        if self.asked.orphans is Orphans.PAUSE:
            ours = [known for known in ours if known.source == self.asked.source]
        return tuple(ours)

    def _freed(self, rows: Sequence[Wanted], *, whole: bool) -> set[Key]:
        """Whose addresses are free then: a paused device keeps its own."""
        gone = self._gone(self._missing(rows), whole=whole) if self.asked.orphans is Orphans.REMOVE else ()
        return {(known.tenant, known.name) for known in gone}

    def _gone(self, missing: tuple[Known, ...], *, whole: bool) -> tuple[Known, ...]:
        match self.asked.orphans:
            case Orphans.REMOVE if whole:  # a row that is left out might be that of one of them
                return missing
            case Orphans.PAUSE:
                return tuple(known for known in missing if known.status == "active")
            case _:
                return ()

    def _was_gone(self, known: Known) -> bool:
        return known.status == "paused" and known.paused_reason == gone_from(self.asked.source)

    def _come_to(self, good: Sequence[Wanted]) -> Counter[Key]:
        """How many more devices use each profile then."""
        more: Counter[Key] = Counter()
        for row in good:
            known, scopes = self._known(row), self._scopes(row)
            if known is not None and not self.asked.update:
                continue
            then = becoming.login(becoming.then(known, row), scopes)
            if then and then != OWN_LOGIN and not (known and becoming.login(known, scopes) == then):
                more[row.tenant or "", then] += 1
        return more

    def _made_scopes(self, good: Sequence[Wanted]) -> list[tuple[str, str, str]]:
        taken = [row for row in good if self.asked.update or self._known(row) is None]
        groups = [(row, "group", row.group) for row in taken if row.group not in self._scopes(row).groups]
        sites = [(row, "site", row.site) for row in taken if row.site not in self._scopes(row).sites]
        return list(dict.fromkeys((row.tenant or "", kind, name) for row, kind, name in groups + sites if name))

    def _made_profiles(self) -> list[tuple[str, str, str]]:
        there = self.standing.tenants
        return [
            (t, "profile", name) for t, name in sorted(self.brought) if t in there and name not in there[t].profiles
        ]

    # --- what should be known ------------------------------------------------------------------------------------

    def _remarks(self, row: Wanted) -> list[Problem]:
        known, remarks = self._known(row), []
        if known is not None and known.pinned and row.fingerprint and known.pinned != row.fingerprint:
            says = "another host key is pinned, and stays; see `hostkey show`"
            remarks.append(Problem(row.line, "fingerprint", says))
        return remarks
