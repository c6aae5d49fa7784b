"""(The fleet as it stands, what is wanted of it) -> the plan of an import."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupflow.core import becoming
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
from backupflow.core.inventory import DIRECT, OWN_LOGIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Key = tuple[str, str]  # tenant, name
_UNKNOWN = {
    "profile": "no such profile; make it with `credential add`",
    "group": "no such group; make it with `group add`, or say --make-groups",
    "site": "no such site; make it with `site add`, or say --make-groups",
    "jump": "no such jump host; make it with `jump add`, or say `direct`",
}


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
        problems = self._wrong(rows)
        while True:  # a row that is left out may leave its device where another one wants to be
            bad = {problem.line for problem in problems}
            good = [row for row in rows if row.line not in bad]
            taken = self._taken(rows, good)
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
        return self.here.get(_key(row))

    def _scopes(self, row: Wanted) -> TenantScopes:
        return self.standing.tenants[row.tenant or ""]

    # --- what is wrong -------------------------------------------------------------------------------------------

    def _wrong(self, rows: Sequence[Wanted]) -> list[Problem]:
        problems: list[Problem] = []
        seen: dict[Key, int] = {}
        for row in rows:
            first = seen.setdefault(_key(row), row.line)
            if first != row.line:
                problems.append(Problem(row.line, "name", f"the same name as in line {first}"))
            problems += self._wrong_in(row)
        return problems

    def _wrong_in(self, row: Wanted) -> list[Problem]:
        if row.tenant not in self.standing.tenants:
            return [Problem(row.line, "tenant", "no such tenant")]
        wrong = [Problem(row.line, column, _UNKNOWN[column]) for column in self._unknown(row)]
        if self._known(row) is None and not row.host:
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
        known, scopes = self._known(row), self._scopes(row)
        has_none = known is not None and becoming.login(known, scopes) is None
        return becoming.login(becoming.then(known, row), scopes) is not None or has_none

    def _unknown(self, row: Wanted) -> list[str]:
        scopes, makes = self._scopes(row), self.asked.makes_scopes
        there = {
            "profile": not row.profile or row.profile in scopes.profiles or (row.tenant, row.profile) in self.brought,
            "group": not row.group or makes or row.group in scopes.groups,
            "site": not row.site or makes or row.site in scopes.sites,
            "jump": not row.jump or row.jump == DIRECT or row.jump in scopes.jump_hosts,
        }
        return [column for column, known in there.items() if not known]

    def _taken(self, rows: Sequence[Wanted], good: Sequence[Wanted]) -> list[Problem]:
        """Addresses that two devices would have, when all that is wanted is done."""
        changing = {_key(row) for row in good} if self.asked.update else set()
        removed = self._gone(self._missing(rows), whole=len(rows) == len(good))
        freed = {(known.tenant, known.name) for known in removed} if self.asked.orphans is Orphans.REMOVE else set()
        tenants = self.standing.tenants
        lines: dict[becoming.Place, int | None] = {
            becoming.place(known, tenants[known.tenant]): None
            for key, known in self.here.items()
            if key not in changing | freed
        }
        wrong = []
        for row in sorted(good, key=lambda row: self._known(row) is None):  # whoever is here goes before who is new
            known = self._known(row)
            if known is not None and not self.asked.update:
                continue
            then = becoming.then(known, row)
            first = lines.setdefault(becoming.place(then, self._scopes(row)), row.line)
            if first != row.line:
                other = "as a device that is here" if first is None else f"as in line {first}"
                wrong.append(Problem(row.line, "host", f"the same address and port {other}, and the same way there"))
        return wrong

    # --- what is missing, and what is made -----------------------------------------------------------------------

    def _missing(self, rows: Sequence[Wanted]) -> tuple[Known, ...]:
        named = {_key(row) for row in rows}
        tenants = {tenant for tenant, _ in named}
        if self.asked.orphans is Orphans.PAUSE:  # an inventory that has nothing any more is heard as well
            tenants.add(self.asked.tenant)
        there = [known for key, known in self.here.items() if key[0] in tenants and key not in named]
        ours = [known for known in there if known.name not in self.asked.held]
        if self.asked.orphans is Orphans.PAUSE:
            ours = [known for known in ours if known.source == self.asked.source]
        return tuple(ours)

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


def _key(row: Wanted) -> Key:
    return row.tenant or "", row.name
