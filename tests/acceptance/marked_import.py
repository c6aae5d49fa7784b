"""Fleets with marked logins are imported, well and badly: what an import may give away, it gives here."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.acceptance.install import wait_for
from tests.conftest import SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.install import Install
    from tests.acceptance.search import Markers

MANY = 60
FEW = 3
LOGGED_IN = (
    "SELECT count(*) AS n FROM device d JOIN credential_profile p ON p.device_id = d.id WHERE d.source = 'import'"
)
LOGINS = ("--passwords-in-file",)
# What is wrong, as a table with a secret in it -> its options. Each is refused.
BAD: dict[str, tuple[str, tuple[str, ...]]] = {
    "unasked": ("name,host,username,password\na,127.3.0.1,backup,{}\n", ()),
    "slipped": ("name,host,port,fingerprint,interval,username,password\na,{0}:,{0},{0},{0},,x\n", LOGINS),
    "alone": ("name,host,username,password\na,127.3.0.1,,{}\n", LOGINS),
    "two rows": ("name,host,username,password\na,127.3.0.1,u,{0}\na,127.3.0.1,u,{0}\n", LOGINS),
    "without a header": ("a,127.3.0.1,{}\n", LOGINS),
    "a secret for a column": ("name,{}\na,x\n", ()),
    "an open quote": ('name,host,username,password\na,127.3.0.1,u,"{}\n', LOGINS),
    "no such scope": ("name,host,profile,group,jump,site\na,127.3.0.1,{0},{0},{0},{0}\n", ("--partial", "--json")),
    "a taken address": ("name,host,port,username,password\na,127.2.0.0,9,u,{}\n", LOGINS),
}
# As many processes as there are; the small size has one for the options, one for the values, one for the header.
REFUSED = list(BAD) if SIZE == "soak" else ["unasked", "slipped", "a secret for a column"]
UPDATES = (("--dry-run", "--verbose"), ("--json",)) if SIZE == "soak" else (("--json",),)


def imports(install: Install, markers: Markers, given: Path) -> None:
    """A fleet gets in, gets other passwords, is refused in every way, is killed on its way, and finds no vault."""
    fleet = write(given / "fleet.csv", table(markers, "imported", MANY, "127.2"))
    install.command("device", "import", fleet, *LOGINS, "--verbose")
    install.command("device", "pause", "--where", "source=import", "--reason", "nobody is there", "--yes")
    again = write(given / "again.csv", table(markers, "imported anew", FEW, "127.2"))
    for options in UPDATES:
        install.command("device", "import", again, *LOGINS, "--update", *options)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: refused(install, markers, given, name), REFUSED))
    killed(install, markers, given)
    down(install, markers, given)


def refused(install: Install, markers: Markers, given: Path, name: str) -> None:
    """One of them."""
    bad, options = BAD[name]
    file = write(given / f"{name}.csv", bad.format(markers.make(f"refused: {name}")))
    assert install.command("device", "import", file, *options, check=False).returncode in {1, 65}


def killed(install: Install, markers: Markers, given: Path) -> None:
    """kill -9 while it holds all passwords; what it had begun is nobody's."""
    file = write(given / "killed.csv", table(markers, "killed", MANY, "127.4"))
    with install.begin("device", "import", file, *LOGINS) as process:
        time.sleep(1.0)  # the interpreter is up by then
        process.send_signal(signal.SIGKILL)
        process.communicate()
    named = "SELECT name FROM device WHERE host LIKE '127.4.%'"
    wait_for(lambda: len(install.rows(named)) in {0, MANY}, "all of it or nothing", 10)
    if install.rows(named):  # it was quick
        install.command("device", "pause", "--where", "host~127.4.", "--yes")


def down(install: Install, markers: Markers, given: Path) -> None:
    """The vault is away: nothing is taken."""
    file = write(given / "late.csv", table(markers, "without vault", FEW, "127.5"))
    vault = install.server("openbao")
    assert vault is not None
    vault.send_signal(signal.SIGSTOP)
    try:
        ended = install.command("device", "import", file, *LOGINS, check=False)
    finally:
        vault.send_signal(signal.SIGCONT)
    assert ended.returncode == 69, ended


def table(markers: Markers, what: str, count: int, net: str) -> str:
    """Devices with a marked login each."""
    rows = [
        f"{net}-{number},{net}.{number // 250}.{number % 250},9,backup,{markers.make(f'{what}: password {number}')}\n"
        for number in range(count)
    ]
    return "name,host,port,username,password\n" + "".join(rows)


def write(path: Path, content: str) -> str:
    """A file as `--passwords-in-file` wants it."""
    path.touch(0o600)
    path.write_text(content)
    return str(path)
