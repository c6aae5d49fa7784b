"""Inventories of other systems, each read by its own adapter; they need no install."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from backupflow.core.syncing import Inventory


@dataclass(frozen=True, slots=True)
class Address:
    """Where another system answers, and how it is trusted."""

    url: str
    ca_file: Path | None = None
    plain_http: bool = False


def oxidized(folder: Path) -> Inventory:
    """A folder of Oxidized."""
    from backupflow.adapters.inventories import oxidized as adapter

    return adapter.read(folder)


def rancid(folder: Path, cloginrc: Path | None) -> Inventory:
    """A folder of RANCID."""
    from backupflow.adapters.inventories import rancid as adapter

    return adapter.read(folder, cloginrc)


def librenms(address: Address, token: str) -> Inventory:
    """What LibreNMS has for Oxidized."""
    from backupflow.adapters.inventories import librenms as adapter
    from backupflow.adapters.inventories.web import server

    return adapter.read(server(address.url, token, address.ca_file, plain_http=address.plain_http))


def netbox(
    address: Address,
    token: str,
    *,
    filters: Mapping[str, tuple[str, ...]],
    group_from: str | None = None,
    port_field: str | None = None,
    whatever_platform: bool = False,
    sites: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Inventory:
    """The devices of NetBox; the choices are those of adapters.inventories.netbox."""
    from backupflow.adapters.inventories import netbox as adapter
    from backupflow.adapters.inventories.web import server

    choice = adapter.Choice(filters, group_from, port_field, whatever_platform, sites)
    return adapter.read(server(address.url, token, address.ca_file, plain_http=address.plain_http), choice, progress)
