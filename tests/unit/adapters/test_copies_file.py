"""Whether a file can be written where somebody says, told before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.copies import require_free
from backupflow.errors import AlreadyThere, InputInvalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_not_there_is_named_as_missing(tmp_path: Path) -> None:
    """What was said is understood; what lacks is the folder, and that is what the line says to make."""
    with pytest.raises(NotFound, match=rf"no folder {tmp_path}/backup for monday.age: make it first"):
        require_free(tmp_path / "backup" / "monday.age", force=False)


def test_a_file_that_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    """And a folder is no file."""
    file = tmp_path / "monday.age"
    file.touch()
    with pytest.raises(AlreadyThere, match="--force"):
        require_free(file, force=False)
    require_free(file, force=True)
    with pytest.raises(InputInvalid, match="is a folder"):
        require_free(tmp_path, force=True)
