"""What the inventory of another system says, and what of it a repeated sync may do: never more than it is sure of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupflow.core.importing import Known, Leftover, Wanted, WantedProfile
from backupflow.core.inventory import checked_host, checked_name, checked_port, checked_username, composed
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_MOST_GONE = 2  # not more than one in so many devices is paused without a word of an operator


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that was read. `source` is written on each device that comes from it.

    `complete` is False where the devices themselves were not to be had: then none counts as gone. `held` are devices
    that it has and that cannot be taken over as it describes them: they are not gone either.
    """

    source: str
    wanted: tuple[Wanted, ...] = ()
    profiles: tuple[WantedProfile, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    complete: bool = True
    held: frozenset[str] = frozenset()
    stems: Mapping[str, str] = field(default_factory=dict)  # profile -> what its name begins with, if it is numbered
    with_secrets: tuple[str, ...] = ()  # files that still hold passwords or keys
    exposed: tuple[str, ...] = ()  # those of them that others may read
    jumps: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # name -> host and port, as far as it tells
    places: Mapping[int, str] = field(default_factory=dict)  # Wanted.line -> where that is, in words

    def place(self, line: int) -> str:
        """Where an entry stands, in words."""
        return self.places.get(line, f"entry {line}")


def labelled(inventory: Inventory, label: str) -> Inventory:
    """One of several of its kind: another source, whose logins have names of their own; InputInvalid.

    Without that a login of one folder would be taken for that of the other, and sent to its devices.
    """
    tool, label = inventory.source.split(" ")[0], checked_name(label)

    def called(name: str) -> str:
        return f"{tool}:{label}{name.removeprefix(tool)}"

    return replace(
        inventory,
        source=f"{inventory.source} {label}",
        wanted=tuple(replace(row, profile=row.profile and called(row.profile)) for row in inventory.wanted),
        profiles=tuple(replace(profile, name=called(profile.name)) for profile in inventory.profiles),
        stems={called(name): called(stem) for name, stem in inventory.stems.items()},
    )


def usable(inventory: Inventory) -> Inventory:
    """Without what has a name, an address or a login that cannot be one here: that is listed, without the value.

    Of two entries with one name the first is believed. One whose login is unusable is held: without it, it would be
    sent another one, that of its scopes.
    """
    leftovers, held, good = list(inventory.leftovers), set(map(composed, inventory.held)), []
    lines: dict[str, int] = {}
    bad = {profile.name for profile in inventory.profiles if not _is_login(profile)}
    for each in inventory.wanted:
        row = replace(each, name=composed(each.name))
        wrong = _wrong(row) or (f"{row.name} has a login that cannot be one here" if row.profile in bad else None)
        if not wrong and row.name in lines:
            wrong = f"the same name as in {inventory.place(lines[row.name])}"
        if wrong:
            leftovers.append(Leftover(inventory.place(row.line), f"left out: {wrong}"))
            held.add(row.name)
            continue
        lines[row.name] = row.line
        good.append(row)
    leftovers += [Leftover(f"profile {name}", "left out: its login cannot be one here") for name in sorted(bad)]
    return replace(
        inventory,
        wanted=tuple(good),
        profiles=tuple(profile for profile in inventory.profiles if profile.name not in bad),
        leftovers=tuple(leftovers),
        held=frozenset(held),
    )


def renamed(inventory: Inventory, devices: Iterable[Known], there: Collection[str]) -> Inventory:
    """The same, with its profiles called as they were when they were made.

    Which of two logins of one user is the first depends on the order of the lines; which devices use it does not. So a
    login has the name that most of its devices have here already, else one that nothing is called here: what is sealed
    under a name that none of them uses may be of another folder, and goes to no device of this one.
    """
    fixed, used = _fixed(inventory), {row.profile for row in inventory.wanted}
    names = {name: name for name in fixed if name not in used or name not in there} | _as_before(inventory, devices)
    taken = {*there, *names.values(), *fixed}
    for profile in inventory.profiles:
        if profile.name not in names:
            names[profile.name] = _free(inventory.stems.get(profile.name, profile.name), taken)
            taken.add(names[profile.name])
    return replace(
        inventory,
        wanted=tuple(replace(row, profile=names.get(row.profile or "", row.profile)) for row in inventory.wanted),
        profiles=tuple(replace(each, name=names.get(each.name, each.name)) for each in inventory.profiles),
        stems={names[name]: stem for name, stem in inventory.stems.items()},
    )


def without_idle(inventory: Inventory, rows: Iterable[Wanted]) -> Inventory:
    """Without the logins that none of these rows uses: no secret is kept for nothing.

    Where the devices come from elsewhere, all of them stay: their groups will name them.
    """
    used = {row.profile for row in rows}
    kept = tuple(profile for profile in inventory.profiles if profile.name in used or not inventory.complete)
    return replace(inventory, profiles=kept)


def apart(
    inventory: Inventory, devices: Iterable[Known]
) -> tuple[tuple[Wanted, ...], tuple[tuple[Wanted, Known], ...]]:
    """What may be taken over, and what stands for a device here that came from elsewhere: that one is not touched."""
    strangers = {known.name: known for known in devices if known.source != inventory.source}
    ours = tuple(row for row in inventory.wanted if row.name not in strangers)
    return ours, tuple((row, strangers[row.name]) for row in inventory.wanted if row.name in strangers)


def too_many_gone(gone: int, ours: int) -> bool:
    """Whether so many of an inventory's devices are gone that it may be the inventory that is wrong."""
    return gone * _MOST_GONE > ours


def _fixed(inventory: Inventory) -> set[str]:
    """The names that say all: of the one login of a place."""
    return {profile.name for profile in inventory.profiles} - set(inventory.stems)


def _as_before(inventory: Inventory, devices: Iterable[Known]) -> dict[str, str]:
    now = {known.name: known.profile for known in devices if known.source == inventory.source}
    fixed = _fixed(inventory)
    wishes: Counter[tuple[str, str]] = Counter()
    for row in inventory.wanted:
        profile, name = row.profile, now.get(row.name)
        if not profile or not name or (name in fixed and name != profile):
            continue
        if _is_numbered(name, inventory.stems.get(profile, profile)):
            wishes[profile, name] += 1
    names: dict[str, str] = {}
    for (profile, name), _ in sorted(wishes.items(), key=lambda wish: (wish[0][1] not in fixed, -wish[1], wish[0])):
        if profile not in names and name not in names.values():
            names[profile] = name
    return names


def _is_numbered(name: str, stem: str) -> bool:
    return name == stem or (name.startswith(f"{stem}-") and name[len(stem) + 1 :].isdecimal())


def _free(stem: str, taken: Collection[str]) -> str:
    number, name = 1, stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def _wrong(row: Wanted) -> str | None:
    """What of an entry cannot be; never with the value."""
    try:
        checked_name(row.name)
    except InputInvalid:
        return "its name cannot be one here: 1 to 100 characters, no control character, no slash, no - before it"
    try:
        checked_host(row.host or "")
        checked_port(row.port or 22)
    except InputInvalid:
        return f"{row.name} has no host name or address, or no port, that can be one"
    try:
        for name in (row.group, row.site, row.jump):
            checked_name(name or "none")
    except InputInvalid:
        return f"{row.name} names a group, a site or a jump host whose name cannot be one here"
    return None


def _is_login(profile: WantedProfile) -> bool:
    try:
        checked_name(profile.name)
        checked_username(profile.username)
    except InputInvalid:
        return False
    secret = profile.private_key if profile.private_key is not None else profile.password
    return bool(secret and secret.strip("\r\n")) and "\0" not in (secret or "")
