"""The servers of a one-machine install, real ones from wheels, and the supervisor that runs the processes.

The doors of this room: `open_folder`, `start_servers`, `running_install` and `Supervisor` with its `Program`.
"""

from __future__ import annotations

from backupflow.embedded.addresses import Address, Addresses, Server, choose_ports, running_install
from backupflow.embedded.binaries import in_package
from backupflow.embedded.folder import DataFolder, default_folder, open_folder, write_private
from backupflow.embedded.openbao import STORAGE_GONE, seal_key_in_use, storage_is_gone
from backupflow.embedded.program import Program, Restart, State, Status
from backupflow.embedded.seal import default_seal_key, identify, missing_key
from backupflow.embedded.servers import ServerOptions, Servers, start_servers
from backupflow.embedded.supervisor import Supervisor

__all__ = [
    "STORAGE_GONE",
    "Address",
    "Addresses",
    "DataFolder",
    "Program",
    "Restart",
    "Server",
    "ServerOptions",
    "Servers",
    "State",
    "Status",
    "Supervisor",
    "choose_ports",
    "default_folder",
    "default_seal_key",
    "identify",
    "in_package",
    "missing_key",
    "open_folder",
    "running_install",
    "seal_key_in_use",
    "start_servers",
    "storage_is_gone",
    "write_private",
]
