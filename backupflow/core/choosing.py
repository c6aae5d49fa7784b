"""Devices chosen by what is known of them: `status=blocked`, `version~7.1`, `name~core-*`."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Described(Protocol):
    """A device with what it may be chosen by: core.fleet.Candidate, core.overview.DeviceState."""

    # fmt: off
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def blocked(self) -> str | None: ...  # noqa: D102
    @property
    def group(self) -> str | None: ...  # noqa: D102
    @property
    def site(self) -> str | None: ...  # noqa: D102
    @property
    def profile(self) -> str | None: ...  # noqa: D102
    @property
    def jump(self) -> str | None: ...  # noqa: D102
    @property
    def source(self) -> str | None: ...  # noqa: D102
    @property
    def driver(self) -> str: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102
    # fmt: on


_Device = TypeVar("_Device", bound=Described)
_FIELDS: dict[str, Callable[[Described], str | None]] = {
    "name": lambda device: device.name,
    "host": lambda device: device.host,
    "port": lambda device: str(device.port),
    "status": lambda device: "blocked" if device.blocked and device.status == "active" else device.status,
    "blocked": lambda device: device.blocked,
    "group": lambda device: device.group,
    "site": lambda device: device.site,
    "profile": lambda device: device.profile,
    "jump": lambda device: device.jump,
    "source": lambda device: device.source,
    "driver": lambda device: device.driver,
    "version": lambda device: _fact(device, "version"),
    "model": lambda device: _fact(device, "model"),
    "identity": lambda device: _fact(device, "identity"),
    "serial": lambda device: _fact(device, "serial"),
}
FIELDS = tuple(_FIELDS)
STATUSES = ("active", "paused", "blocked")
_CONDITION = re.compile(r"\s*([A-Za-z_]+)\s*(!=|=|~)\s*(.*?)\s*", re.DOTALL)
_WILD = frozenset("*?[")

Condition = "Callable[[Described], bool]"


def condition(text: str) -> Callable[[Described], bool]:
    """What `field=value`, `field!=value` or `field~pattern` asks for; InputInvalid says what it can be.

    An empty value stands for none. A pattern has `*` and `?` and is of the whole value; without them it is how the
    value begins. Letters count as they are for `=`, small and capital alike for `~`.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise InputInvalid("a condition is `field=value`, `field!=value` or `field~pattern`, such as version~7.1")
    name, operator, value = found[1].lower(), found[2], found[3]
    if name not in _FIELDS:
        raise InputInvalid(f"no field {name!r} to choose by; there are {', '.join(FIELDS)}")
    if name == "status" and operator != "~" and value not in STATUSES:
        raise InputInvalid(f"a status is {', '.join(STATUSES[:-1])} or {STATUSES[-1]}")
    if operator == "~" and not value:
        raise InputInvalid(f"{name}~ needs a pattern, such as {name}~core-*")
    read = _FIELDS[name]
    match operator:
        case "=":
            return lambda device: (read(device) or "") == value
        case "!=":
            return lambda device: (read(device) or "") != value
        case _:
            return lambda device: _is_like(read(device), value)


def chosen(
    devices: Iterable[_Device], *, group: str | None, site: str | None, conditions: Sequence[str]
) -> list[_Device]:
    """Those that meet all of it, by name; InputInvalid as in `condition`."""
    asked = [condition(text) for text in conditions]
    asked += [lambda device: device.group == group] if group is not None else []
    asked += [lambda device: device.site == site] if site is not None else []
    return sorted((device for device in devices if all(meets(device) for meets in asked)), key=lambda it: it.name)


def _is_like(value: str | None, pattern: str) -> bool:
    said, wanted = (value or "").lower(), pattern.lower()
    return fnmatchcase(said, wanted) if _WILD & set(wanted) else said.startswith(wanted)


def _fact(device: Described, name: str) -> str | None:
    said = device.facts.get(name)
    return None if said is None else str(said)
