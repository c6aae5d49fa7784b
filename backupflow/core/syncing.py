"""What the inventory of another system says, and what of it a repeated sync may do: never more than it is sure of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backupflow.core.importing import Known, Leftover, Wanted, WantedProfile
from backupflow.core.inventory import checked_host, checked_name, checked_port, checked_username
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

    Of two entries with one name the first is believed.
    """
    leftovers, held, good = list(inventory.leftovers), set(inventory.held), []
    lines: dict[str, int] = {}
    for row in inventory.wanted:
        wrong = _wrong(row)
        if not wrong and row.name in lines:
            wrong = f"the same name as in {inventory.place(lines[row.name])}"
        if wrong:
            leftovers.append(Leftover(inventory.place(row.line), f"left out: {wrong}"))
            held.add(row.name)
            continue
        lines[row.name] = row.line
        good.append(row)
    bad = {profile.name for profile in inventory.profiles if not _is_login(profile)}
    leftovers += [Leftover(f"profile {name}", "left out: its login cannot be one here") for name in sorted(bad)]
    return replace(
        inventory,
        wanted=tuple(replace(row, profile=None) if row.profile in bad else row for row in good),
        profiles=tuple(profile for profile in inventory.profiles if profile.name not in bad),
        leftovers=tuple(leftovers),
        held=frozenset(held),
    )


def renamed(inventory: Inventory, devices: Iterable[Known], there: Collection[str]) -> Inventory:
    """The same, with its numbered profiles called as they were when they were made.

    Which of two logins of one user is the first depends on the order of the lines; which devices use it does not. So a
    login has the name that most of its devices have here already, else one that nothing is called here.
    """
    names = _as_before(inventory, devices)
    taken = {*there, *names.values(), *(p.name for p in inventory.profiles if p.name not in inventory.stems)}
    for profile in inventory.profiles:
        stem = inventory.stems.get(profile.name)
        if stem is not None and profile.name not in names:
            names[profile.name] = _free(stem, taken)
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


def _as_before(inventory: Inventory, devices: Iterable[Known]) -> dict[str, str]:
    now = {known.name: known.profile for known in devices if known.source == inventory.source}
    wishes: Counter[tuple[str, str]] = Counter()
    for row in inventory.wanted:
        stem, name = inventory.stems.get(row.profile or ""), now.get(row.name)
        if stem and name and _is_numbered(name, stem):
            wishes[row.profile or "", name] += 1
    names: dict[str, str] = {}
    for (profile, name), _ in sorted(wishes.items(), key=lambda wish: (-wish[1], wish[0])):
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
