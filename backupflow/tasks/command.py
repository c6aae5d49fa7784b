"""Celery's own `worker` and `beat`, and none of its other commands: `python -m backupflow.tasks.command worker …`.

`celery` itself imports all that it can do, a shell with completion and Flower too, into every process: a tenth of what
a start takes, and 11 MB of memory for as long as it lives.
"""

from __future__ import annotations

import sys
from importlib import import_module

from celery.bin.base import CLIContext

from backupflow.tasks.app import app


def main(words: list[str]) -> None:
    """Become what the first word says, with the options that follow it; ends the process."""
    name, *options = words
    command = getattr(import_module(f"celery.bin.{name}"), name)
    context = CLIContext(app=app, no_color=True, workdir=None, quiet=True)
    command.main(options, prog_name=f"backupflow {name}", obj=context)


if __name__ == "__main__":
    main(sys.argv[1:])
