"""NetBox through pynetbox: its active devices that are RouterOS.

pynetbox 7.8 as it was read: a list is fetched lazily while one iterates; from the second page on it follows whatever
address the answer names as the next, with the token; a missing attribute of a record is fetched by a further request;
`threading` neither keeps an order nor notices what changes meanwhile. So pages are asked for by their offsets, one
after the other, in the order of ids, and records are only looked at as dictionaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pynetbox

from backupflow.adapters.inventories.logins import plain
from backupflow.adapters.inventories.tally import Tally
from backupflow.adapters.inventories.web import BoundedSession, refused
from backupflow.core.importing import Wanted
from backupflow.core.syncing import Inventory
from backupflow.errors import InputInvalid, InventoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.adapters.inventories.web import Server

GROUPS_FROM = ("role", "tenant", "platform", "location", "cluster", "tag")
_PAGE = 500
_MOST_DEVICES = 200_000
_TRIES = 3  # of a list that changes while it is read
_OURS, _NOT_OURS = ("routeros", "mikrotik"), ("swos", "switchos")
_ASKED_HERE = frozenset({"limit", "offset", "ordering", "start"})
_HIGHEST_PORT = 65535
_GARBAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of NetBox is wanted, and what its fields mean here."""

    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group_from: str | None = None
    port_field: str | None = None  # a custom field with the SSH port
    whatever_platform: bool = False  # the filters say all: also take what no platform says to be RouterOS
    sites: bool = True


def read(server: Server, choice: Choice, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Inventory:
    """Its devices; `progress` is told how many of how many were read. InventoryUnavailable."""
    if strange := _ASKED_HERE & set(choice.filters):
        raise InputInvalid(f"--filter {min(strange)} is asked for here already")
    api = pynetbox.api(server.url.removesuffix("/api"), token=server.token)
    with BoundedSession(server) as session:
        api.http_session = session
        devices = _all(api, choice, progress)
    reading = _Reading(choice)
    wanted = tuple(made for number, device in enumerate(devices, 1) if (made := reading.wanted(number, device)))
    return Inventory(
        f"netbox {server.url.removesuffix('/api')}",
        wanted,
        (),
        reading.tally.all(),
        held=frozenset(reading.held),
        places={number: f"device {device.get('id')}" for number, device in enumerate(devices, 1)},
    )


def _all(api: Any, choice: Choice, progress: Callable[[int, int], None]) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - pynetbox has no types
    """The whole list, from one that did not change while it was read: a gap would look like a device that is gone."""
    try:
        for _ in range(_TRIES):
            found = _once(api, choice, progress)
            if found is not None:
                return found
    except pynetbox.RequestError as exc:
        raise refused(exc.req.status_code) from exc
    except pynetbox.ContentError as exc:
        raise InventoryUnavailable("its answer is not JSON: check the address") from exc
    except _GARBAGE as exc:
        raise InventoryUnavailable("its answer is not what NetBox answers: check the address") from exc
    raise InventoryUnavailable("its list changes while it is read; try again")


def _once(api: Any, choice: Choice, progress: Callable[[int, int], None]) -> Sequence[Mapping[str, Any]] | None:  # noqa: ANN401
    asked = {name: list(values) for name, values in choice.filters.items()}
    found: dict[int, Mapping[str, Any]] = {}
    total: int | None = None
    while total is None or len(found) < total:
        page = api.dcim.devices.filter(**asked, ordering="id", limit=_PAGE, offset=len(found))
        devices = [dict(record) for record in page]
        count = int(page.request.count)
        if count > _MOST_DEVICES:
            raise InventoryUnavailable(f"it has more than {_MOST_DEVICES} devices; name some with --filter")
        known = len(found)
        found.update({int(device["id"]): device for device in devices})
        if (total is not None and count != total) or (len(found) == known and known < count):
            return None  # it changed, or a page brings nothing new: what goes on so never ends
        total = count
        progress(len(found), total)
    return tuple(found.values()) if len(found) == total else None


@dataclass(slots=True)
class _Reading:
    choice: Choice
    tally: Tally = field(default_factory=Tally)
    held: set[str] = field(default_factory=set)

    def wanted(self, number: int, device: Mapping[str, Any]) -> Wanted | None:
        place = f"device {plain(str(device.get('id')))}"
        name = device.get("name")
        platform = _called(device.get("platform"))
        if not self.choice.whatever_platform and not _is_ours(device):
            self.tally.count("devices", f"of platform {plain(platform) or '(none)'}: not RouterOS", place)
            return None
        if not isinstance(name, str) or not name:
            self.tally.count("devices", "without a name: left out", place)
            return None
        status = _status(device)
        if status != "active":
            self.tally.count("devices", f"of status {plain(status) or '(none)'}: only active ones are collected", place)
            return None
        host, port = _address(device), self._port(device)
        if host is None or port == 0:
            what = "without a primary address" if host is None else "whose port field holds no port"
            self.tally.count("devices", f"{what}: left out", place)
            self.held.add(name)
            return None
        site = plain(_called(device.get("site"))) if self.choice.sites else ""
        return Wanted(name, host, port, None, self._group(device, place), site or None, line=number)

    def _port(self, device: Mapping[str, Any]) -> int | None:
        """None: it says nothing, 0: it is none."""
        fields = device.get("custom_fields")
        given = fields.get(self.choice.port_field) if isinstance(fields, dict) and self.choice.port_field else None
        if given is None or given == "":
            return None
        number = int(str(given)[:6]) if not isinstance(given, bool) and str(given).isdecimal() else 0
        return number if number <= _HIGHEST_PORT else 0

    def _group(self, device: Mapping[str, Any], place: str) -> str | None:
        match self.choice.group_from:
            case None:
                return None
            case "tag":
                tags = sorted(plain(_called(tag)) for tag in device.get("tags") or ())
                if len(tags) > 1:
                    self.tally.count("devices", "with several tags: the group is the first by name", place)
                return next(iter(tags), None)
            case "role":  # until NetBox 3.6 it was called device_role
                return plain(_called(device.get("role") or device.get("device_role"))) or None
            case name:
                return plain(_called(device.get(name))) or None


def _is_ours(device: Mapping[str, Any]) -> bool:
    kind = device.get("device_type")
    maker = kind.get("manufacturer") if isinstance(kind, dict) else None
    platform = _words(device.get("platform"))
    if any(word in platform for word in _NOT_OURS):
        return False
    return any(word in platform for word in _OURS) or (not platform and "mikrotik" in _words(maker))


def _called(nested: object) -> str:
    """The name of a nested object."""
    name = nested.get("name") or nested.get("slug") if isinstance(nested, dict) else None
    return name if isinstance(name, str) else ""


def _words(nested: object) -> str:
    return (
        " ".join(str(nested.get(key, "")).lower() for key in ("name", "slug")).strip()
        if isinstance(nested, dict)
        else ""
    )


def _status(device: Mapping[str, Any]) -> str:
    status = device.get("status")
    found = status.get("value") if isinstance(status, dict) else status
    return found if isinstance(found, str) else ""


def _address(device: Mapping[str, Any]) -> str | None:
    """The primary address without its prefix length; which of both families, NetBox says."""
    for name in ("primary_ip", "primary_ip4", "primary_ip6"):
        nested = device.get(name)
        given = nested.get("address") if isinstance(nested, dict) else None
        if isinstance(given, str) and given:
            return given.split("/")[0]
    return None
