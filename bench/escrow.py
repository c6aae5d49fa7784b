"""Writing the escrow of a fleet: 2,000 devices with distinct exports of 60 kB, in a real PostgreSQL and OpenBao.

What is timed is the command, as a process of its own, from its start to its end; beside it its processor time and
memory. Then the file is opened: by age and tar where they are, and every configuration is counted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from shutil import which

import pyrage

from bench.search import environment, kept_install

DEVICES, SIZE = 2000, 60_000


def main() -> None:
    """Run it and print the figures."""
    with kept_install(__doc__, DEVICES, SIZE) as folder:
        _measure(folder)


def _measure(folder: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (folder / "escrow").mkdir(0o700)
    _command(folder, "enable", "--recipient", str(identity.to_public()), "--to", str(folder / "escrow"))
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    (written,) = json.loads(_command(folder, "run", "--json"))
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"written in {seconds:.1f} s, {cpu:.1f} s of CPU, {after.ru_maxrss / 1000:.0f} MB: "
          f"{written['devices']:,} configurations, {written['bytes'] / 1e6:.1f} MB")  # fmt: skip
    began = time.monotonic()
    found, how = _opened(folder, Path(written["file"]), identity)
    print(f"opened by {how} in {time.monotonic() - began:.1f} s: {found:,} configurations")
    if found != written["devices"]:
        raise SystemExit("not all of them are there")


def _command(folder: Path, *argv: str) -> bytes:
    program = [sys.executable, "-m", "backupflow", "--data-dir", str(folder / "data"), "escrow", *argv]
    return subprocess.run(program, stdout=subprocess.PIPE, check=True, env=environment()).stdout


def _opened(folder: Path, file: Path, identity: pyrage.x25519.Identity) -> tuple[int, str]:
    plain = folder / "plain"
    plain.mkdir()
    if which("age") is None:
        with file.open("rb") as sealed, (folder / "plain.tar").open("wb") as tar:
            pyrage.decrypt_io(sealed, tar, [identity])
        with tarfile.open(folder / "plain.tar") as tar_file:
            tar_file.extractall(plain, filter="data")
        how = "pyrage"
    else:
        key = folder / "key.txt"
        key.write_text(str(identity))
        key.chmod(0o600)
        subprocess.run(f"age -d -i {key} {file} | tar -x -C {plain}", shell=True, check=True)  # noqa: S602 - our own
        how = "age | tar"
    return len(list((plain / "configurations").iterdir())), how


if __name__ == "__main__":
    main()
