"""The normal form of a file, without typer: it is run once a file over thousands of them."""

from __future__ import annotations

import sys

from backupflow.cli.exits import Exit
from backupflow.core.driver import Incomplete
from backupflow.core.model import RawConfig
from backupflow.drivers import driver as find
from backupflow.errors import NotFound


def normalize(file: str, driver: str) -> Exit:
    """Write the normal form of a file to stdout, then say why it is incomplete, if it is; gives the exit code."""
    judge = find(driver)
    raw = read(file)
    sys.stdout.buffer.write(judge.normalize(RawConfig(raw)))
    sys.stdout.buffer.flush()
    verdict = judge.judge_file(raw)
    if isinstance(verdict, Incomplete):
        sys.stderr.write(f"backupflow: incomplete, {verdict.reason}: {verdict.detail}\n")
        return Exit.DATA
    return Exit.OK


def read(file: str) -> bytes:
    """The bytes of a file, of stdin if it is `-`; NotFound if it cannot be read."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - pathlib would cost a part of the start
            return stream.read()
    except OSError as exc:
        raise NotFound(f"{file!r}: {exc.strerror}") from exc
