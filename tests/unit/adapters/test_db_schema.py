"""What the newest schema is, told without alembic."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from backupflow.adapters.db import schema
from backupflow.wiring import shipped

if TYPE_CHECKING:
    from pathlib import Path


def test_the_newest_revision_is_the_one_that_alembic_goes_to() -> None:
    """Or every process would refuse the database that `migrate` made."""
    config = Config()
    config.set_main_option("script_location", str(shipped("alembic")))
    assert schema.newest(shipped("alembic")) == ScriptDirectory.from_config(config).get_current_head()


def test_migrations_that_are_no_line_are_a_defect(tmp_path: Path) -> None:
    """Two that follow the same one: nobody knows which schema is wanted."""
    scripts = tmp_path / "alembic"
    shutil.copytree(shipped("alembic"), scripts)
    before = schema.newest(scripts)
    (scripts / "versions" / "9998_one.py").write_text(f'revision = "9998"\ndown_revision = "{before}"\n')
    assert schema.newest(scripts) == "9998"
    (scripts / "versions" / "9999_other.py").write_text(f'revision = "9999"\ndown_revision = "{before}"\n')
    with pytest.raises(ValueError, match="too many values"):
        schema.newest(scripts)


def test_who_asks_for_the_schema_imports_no_alembic() -> None:
    """Each process asks when it starts, and would keep it in memory as long as it lives."""
    seen = "import sys, backupflow.adapters.db.schema; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", seen], check=False).returncode == 0
