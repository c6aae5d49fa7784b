"""LibreNMS: the list that it makes for Oxidized, `/api/v0/oxidized`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backupflow.adapters.inventories.logins import plain
from backupflow.adapters.inventories.tally import Tally
from backupflow.adapters.inventories.web import BoundedSession, refused
from backupflow.core.importing import Wanted
from backupflow.core.syncing import Inventory
from backupflow.errors import InventoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupflow.adapters.inventories.web import Server

_PATH = "/api/v0/oxidized"
_OURS = frozenset({"routeros", "mikrotik"})
_USED = frozenset({"hostname", "os", "ip", "group", "ssh_port"})
_HIGHEST_PORT = 65535


def read(server: Server) -> Inventory:
    """All devices that it has for Oxidized. InventoryUnavailable."""
    url = server.url if server.url.endswith(_PATH) else server.url + _PATH
    with BoundedSession(server) as session:
        response = session.get(url, headers={"X-Auth-Token": server.token, "Accept": "application/json"})
        if not response.ok:
            raise refused(response.status_code)
        reading = _Reading()
        wanted = tuple(reading.wanted(_entries(response.content)))
    source = f"librenms {server.url.removesuffix(_PATH)}"
    places = {row.line: f"entry {row.line}" for row in wanted}
    return Inventory(source, wanted, (), reading.tally.all(), held=frozenset(reading.held), places=places)


def _entries(content: bytes) -> list[Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise InventoryUnavailable("its answer is not JSON: check the address") from None
    if not isinstance(found, list):
        raise InventoryUnavailable("its answer is no list of devices: check the address and the token")
    return found


@dataclass(slots=True)
class _Reading:
    tally: Tally = field(default_factory=Tally)
    held: set[str] = field(default_factory=set)

    def wanted(self, entries: list[Any]) -> Iterator[Wanted]:
        for number, entry in enumerate(entries, 1):
            name = entry.get("hostname") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name:
                self.tally.count("answer", "that are no devices: left out", f"entry {number}")
            elif made := self._one(number, name, entry):
                yield made

    def _one(self, number: int, name: str, entry: Mapping[str, Any]) -> Wanted | None:
        place = f"entry {number}"
        system = _word(entry, "os")
        if system.lower() not in _OURS:
            self.tally.count("answer", f"of os {plain(system) or '(none)'}: not RouterOS", place)
            return None
        for other in sorted(set(entry) - _USED):
            self.tally.count("answer", f"with {plain(str(other))}: it has no meaning here", place)
        port = entry.get("ssh_port")
        number_of_port = _port(port)
        if port not in (None, "") and number_of_port is None:
            self.tally.count("answer", "whose ssh_port is no port: left out", place)
            self.held.add(name)
            return None
        group = plain(_word(entry, "group"))
        return Wanted(name, _word(entry, "ip") or name, number_of_port, None, group or None, line=number)


def _word(entry: Mapping[str, Any], name: str) -> str:
    found = entry.get(name)
    return found.strip() if isinstance(found, str) else ""


def _port(given: object) -> int | None:
    if isinstance(given, bool) or not isinstance(given, (int, str)) or not str(given).isdecimal():
        return None
    number = int(str(given)[:6])
    return number if 1 <= number <= _HIGHEST_PORT else None
