"""`backupflow up` on a folder of this machine, where the routers have the names that they have for containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.install import Install

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A namespace of its own, so that this machine's file of names stays as it is; it ends with the process.
_NAMED = ("unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')


class Folder(Install):
    """An install below `root`, whose processes know these names beside this machine's own."""

    def __init__(self, root: Path, names: Mapping[str, str], settings: Mapping[str, object]) -> None:
        root.mkdir()
        super().__init__(root, **settings)
        hosts = root / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in names.items()))
        self.program = [*_NAMED, str(hosts), *self.program]

    def restore(self, file: Path, key: Path) -> None:
        """Into this folder, with the key of the seal beside it, as `up` looks for it."""
        seal = ("--seal-key", str(self.root / "seal.key"))
        self.command("backup-system", "restore", str(file), "--identity", str(key), *seal)

    def close(self) -> None:
        """End it, however it stands."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
