"""Oxidized: its `config`, and the devices of its `router.db`.

What counts for a device, nearest first, as Oxidized's documentation and its resolving of keys have it since 0.29: the
node, its model within its group, its group, its model, all. (Before, a model came before a group: where it matters,
that is told.) An empty field says nothing. `nil`, `true` and `false` are Ruby's, not texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.adapters.inventories import oxidized_nodes, ruby_yaml
from backupflow.adapters.inventories.logins import Logins
from backupflow.adapters.inventories.oxidized_scopes import Scopes
from backupflow.adapters.inventories.oxidized_wanted import Wishes
from backupflow.adapters.inventories.tally import Tally
from backupflow.adapters.inventories.texts import Texts
from backupflow.core.syncing import Inventory
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.adapters.inventories.oxidized_nodes import Node
    from backupflow.adapters.inventories.ruby_yaml import Value

SOURCE = "oxidized"
_LARGEST_CONFIG = 1024 * 1024
_OURS = {"username", "password", "model", "interval", "vars", "groups", "models", "model_map", "group_map", "input",
         "source", "resolve_dns"}  # fmt: skip
_ELSEWHERE = {
    "http": "the devices are read from an address; if that is LibreNMS, `inventory import librenms URL` reads the same",
    "sql": "the devices are in a database: write them to a file as router.db has them, and set source.default to csv",
    "jsonfile": "the devices are in a JSON file: write them to a file as router.db has them",
}
_NO_DEVICES = "{}; only the logins were read here, and no device counts as gone"


def read(folder: Path) -> Inventory:
    """All that a folder of Oxidized says; NotFound or InputInvalid if it cannot be followed."""
    return _Reading(folder / "config" if folder.is_dir() else folder).inventory()


@dataclass(slots=True)
class _Reading:
    file: Path
    texts: Texts = field(default_factory=Texts)
    tally: Tally = field(default_factory=Tally)
    table: str = "router.db"

    def inventory(self) -> Inventory:
        try:
            document = ruby_yaml.load(self.texts.read(self.file, _LARGEST_CONFIG))
        except InputInvalid as exc:
            raise InputInvalid(f"{self.file}: {exc.detail}") from exc
        for line, why in document.unread:
            self.tally.one(f"{self.file.name} line {line}", why)
        if not isinstance(document.value, dict):
            raise InputInvalid(f"{self.file} holds no configuration of Oxidized")
        config = document.value
        scopes = Scopes.of(config)
        if scopes.hold_secrets:
            self.texts.holds_secrets(self.file)
        self._tell_the_rest(config)
        nodes, complete = self._nodes(config)
        wishes = Wishes(scopes, self.file, self.table, self.texts, self.tally, Logins(SOURCE))
        wishes.scopes_first()
        wanted = [made for node in nodes if (made := wishes.of(node))]
        return Inventory(
            SOURCE,
            tuple(wanted),
            wishes.logins.profiles(),
            self.tally.all(),
            complete=complete,
            held=frozenset(wishes.held),
            jumps=wishes.jumps,
            stems=wishes.logins.stems,
            places={row.line: f"{self.table} line {row.line}" for row in wanted},
            with_secrets=tuple(self.texts.with_secrets),
            exposed=tuple(self.texts.exposed),
        )

    def _nodes(self, config: Mapping[ruby_yaml.Key, Value]) -> tuple[Sequence[Node], bool]:
        source = config.get("source")
        source = source if isinstance(source, dict) else {}
        kind = source.get("default") or "csv"
        if kind != "csv":
            why = _ELSEWHERE.get(str(kind), "the devices come from a source that is not known here")
            self.tally.one(f"{self.file.name}: source", _NO_DEVICES.format(why))
            return (), False
        table = source.get("csv")
        layout = oxidized_nodes.Layout.of(table if isinstance(table, dict) else {}, config)
        path = _where(layout.file, self.file.parent)
        self.table = path.name
        nodes = oxidized_nodes.read(self.texts.read(path), layout, self.tally, path.name)
        if any(node.username or node.password for node in nodes):
            self.texts.holds_secrets(path)
        return nodes, True

    def _tell_the_rest(self, config: Mapping[ruby_yaml.Key, Value]) -> None:
        rest = sorted(key for key in config if isinstance(key, str) and key not in _OURS)
        if rest:
            self.tally.one(self.file.name, f"of Oxidized itself, without meaning here: {', '.join(rest)}")
        interval = config.get("interval")
        if isinstance(interval, str) and interval.isdigit() and int(interval):
            self.tally.one(
                self.file.name,
                f"interval of all devices: {interval} s. It is not taken over, since it would be that of the devices "
                f"from elsewhere too: `backupflow tenant edit default --interval {interval}s`, or that of a group",
            )


def _where(file: str, folder: Path) -> Path:
    """The table beside the configuration, which may be a copy from another machine; else where it says that it is."""
    beside = folder / Path(file).name
    return beside if beside.is_file() else Path(file).expanduser()
