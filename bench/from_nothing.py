"""From a clone to the first stored configuration of a real sshd: what a new user types, and how long each of it takes.

Debian's sshd answers as a router does. The clone is of the last commit, the folders of data and keys are new; what
`pip` brings comes from wherever this machine gets it.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.openssh import program, serving

ROOT = Path(__file__).resolve().parents[1]
IN_ITS_VENV = "source .venv/bin/activate && "
UP_SECONDS = 600


def main() -> None:
    """Run it and print the figures."""
    with Fleet([RouterSpec("core-1")]) as fleet:
        configuration = fleet["core-1"].text()
    user = getpass.getuser()
    with (
        tempfile.TemporaryDirectory(prefix="backupflow-bench-") as name,
        serving(user, "", methods=("publickey",)) as sshd,
    ):
        sshd.set_answer(configuration, "v7")
        folder = Path(name)
        key = folder / "key"
        subprocess.run([program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        (sshd.folder / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
        add = f"backupflow device add core-1 127.0.0.1 --port {sshd.port} --username {user} --key-file {key}"
        _typed(folder, add)
        if (folder / "clone/core-1.rsc").read_bytes() != configuration:
            raise SystemExit("what was exported is not what the router gave")


def _typed(folder: Path, add: str) -> None:
    began = time.monotonic()
    _step(folder, f"git clone -q {ROOT} clone")
    clone = folder / "clone"
    up = _up(clone)
    try:
        for line in (
            add,
            "backupflow backup core-1 --wait",
            "backupflow snapshots core-1",
            "backupflow export core-1 -o core-1.rsc",
        ):
            _step(clone, IN_ITS_VENV + line)
        print(f"{time.monotonic() - began:6.1f} s  from the clone to the file, byte for byte what the router gave")
    finally:
        up.terminate()
        up.wait()


def _up(clone: Path) -> subprocess.Popen[bytes]:
    began = time.monotonic()
    log = clone.parent / "up.log"
    with log.open("wb") as told:
        up = subprocess.Popen(["make", "up"], cwd=clone, env=_new(clone.parent), stdout=told, stderr=told)
    while up.poll() is None and time.monotonic() < began + UP_SECONDS:
        if b"backupflow is up" in log.read_bytes():
            print(f"{time.monotonic() - began:6.1f} s  make up", flush=True)
            return up
        time.sleep(0.05)
    up.terminate()
    raise SystemExit(f"`make up` did not come up: {log.read_text('utf-8', 'replace')[-2000:]}")


def _step(folder: Path, line: str) -> None:
    began = time.monotonic()
    subprocess.run(["bash", "-euc", line], cwd=folder, env=_new(folder), check=True, stdout=sys.stderr)
    print(f"{time.monotonic() - began:6.1f} s  {line.removeprefix(IN_ITS_VENV)}", flush=True)


def _new(folder: Path) -> dict[str, str]:
    """The environment of somebody who has not run it before."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIG_", "VIRTUAL_ENV"))}
    home = folder if folder.name != "clone" else folder.parent
    return {**kept, "BACKUPFLOW_DATA_DIR": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}


if __name__ == "__main__":
    main()
