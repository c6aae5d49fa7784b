"""Where the processes under `up` answer /metrics, /live and /ready, and the file that tells Prometheus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.core.listen import listen_address
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from backupflow.embedded import DataFolder

TOLD = "prometheus.json"
_LOOPBACK = "127.0.0.1"
_LAST_PORT = 65_535


def probe_addresses(folder: DataFolder, names: Sequence[str], listen: str) -> dict[str, str]:
    """host:port by the name of the process, as CONFIG_METRICS_LISTEN of `up` has it; none of them if it is off.

    Without it each has a free port on loopback, the one of the last start if it can; with one they are in a row.
    """
    from backupflow.embedded import choose_ports

    if listen == "off":
        return {}
    host, first = listen_address(listen) if listen else (_LOOPBACK, 0)
    if first + len(names) - 1 > _LAST_PORT:
        raise SettingsInvalid(f"CONFIG_METRICS_LISTEN: after port {first} there are no {len(names)} more")
    if first:
        ports = {name: first + number for number, name in enumerate(names)}
    else:
        chosen = choose_ports(folder, [f"metrics {name}" for name in names])
        ports = {name: chosen[f"metrics {name}"] for name in names}
    shown = f"[{host}]" if ":" in host else host
    return {name: f"{shown}:{port}" for name, port in ports.items()}


def tell_prometheus(folder: DataFolder, addresses: Mapping[str, str]) -> Path:
    """Write the targets as file_sd_configs reads them, whole or not at all; Prometheus takes it up by itself."""
    said = [{"targets": [address], "labels": {"process": name}} for name, address in addresses.items()]
    file = folder.room("run") / TOLD
    new = file.with_suffix(".new")
    new.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return new.replace(file)


def told_addresses(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Name and host:port of each process of the install on this folder, as it was told; OSError if there is none."""
    for one in json.loads((data_dir / "run" / TOLD).read_text(encoding="utf-8")):
        yield one["labels"]["process"], one["targets"][0]
