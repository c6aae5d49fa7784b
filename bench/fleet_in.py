"""A fleet gets in: 1,800 simulated routers, three logins, four jump hosts, from nothing to all stored, by commands.

As an operator would: logins, jump hosts and sites by command, the routers by one CSV file. One login is a key, two are
passwords. One of the jump hosts is Debian's own sshd, three are simulated; 400 routers stand behind each, and 200 more
on 5 addresses with different ports. Everything is as shipped, but for the concurrency.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.first_round import LONGEST_SECONDS, table_of, usage
from tests.acceptance.install import Install, wait_for
from tests.acceptance.openssh import OpenSshServer, program, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

SITES = ("north", "east", "south", "west")
LOGINS = ("core", "access", "old")  # the first is a key
ADDRESSES = 5  # that share the routers of no site
_FIRST_PORT = 20_022


@dataclass
class Told:
    """What was typed, and how long each took."""

    install: Install
    commands: list[tuple[str, float]] = field(default_factory=list)

    def command(self, *argv: str) -> str:
        """Type a command; what it says."""
        began = time.monotonic()
        done = self.install.command(*argv)
        self.commands.append((" ".join(argv[:2]), time.monotonic() - began))
        return (done.stdout + done.stderr).decode()


def main() -> None:
    """Run it and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routers", type=int, default=1800, help="a ninth of them on few addresses")
    parser.add_argument("--size", type=int, default=20_000, help="bytes of an export, roughly")
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--interval", default="1h")
    parser.add_argument("--hop-down", type=float, default=0, metavar="SECONDS", help="then keep a jump host down")
    parser.add_argument("--hop-retry", type=int, default=300, metavar="SECONDS", help="CONFIG_JUMP_HOST_RETRY")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch,
        serving(getpass.getuser(), "", methods=("publickey",)) as sshd,
    ):
        _run(Path(scratch), sshd, asked)


def _run(root: Path, sshd: OpenSshServer, asked: argparse.Namespace) -> None:
    passwords = {name: secrets.token_urlsafe(12) for name in LOGINS[1:]}
    key = _make_key(root / "core.key")
    roster = list(_roster(asked.routers, asked.size, passwords, key))
    settings = {"CONFIG_BACKUP_MAX_CONCURRENT": asked.concurrency, "CONFIG_JUMP_HOST_RETRY": asked.hop_retry}
    install = Install(root, **settings)
    with _simulating(root, roster) as (simulator, jump_hosts):
        install.start()
        try:
            told = Told(install)
            before, began = usage(install, simulator), time.monotonic()
            _logins(told, root, passwords)
            _jump_hosts(told, root, sshd, jump_hosts)
            for site in SITES:
                told.command("site", "add", site, "--jump", f"hop-{site}", "--interval", asked.interval)
            _write_csv(root / "fleet.csv", roster)
            print(told.command("device", "import", str(root / "fleet.csv"), "--verbose").splitlines()[-1])
            set_up = time.monotonic() - began
            _await_all(install, asked.routers)
            seconds = time.monotonic() - began
            _tell(told, asked, set_up, seconds)
            print(_failed(install))
            table_of(before, usage(install, simulator), seconds)
            if asked.hop_down:
                _hop_down(install, root / "control", asked.hop_down)
        finally:
            install.stop()


def _await_all(install: Install, routers: int) -> None:
    """Wait until all are stored; a line every half minute."""
    began, told = time.monotonic(), 0.0
    while (stored := _stored(install)) < routers:
        spent = time.monotonic() - began
        if spent - told >= 30:  # noqa: PLR2004 - seconds
            told = spent
            print(f"  {spent:4.0f} s: {stored} stored; {_failed(install)}", flush=True)
        if spent > 2 * LONGEST_SECONDS:
            raise AssertionError(install.command("status", "--all", check=False).stdout.decode()[-4000:])
        time.sleep(0.5)


def _tell(told: Told, asked: argparse.Namespace, set_up: float, seconds: float) -> None:
    print(
        f"{asked.routers} routers, concurrency {asked.concurrency}: {len(told.commands)} commands in {set_up:.1f} s, "
    )
    print(f"all stored {seconds:.1f} s after the first of them")
    for name in dict.fromkeys(name for name, _ in told.commands):
        spans = [span for other, span in told.commands if other == name]
        print(f"  {name:16} x{len(spans)}  {sum(spans):6.1f} s")


def _roster(routers: int, size: int, passwords: dict[str, str], key: str) -> Iterator[dict[str, Any]]:
    """Routers by the lines of a simulator's roster; `site` and `profile` are for the CSV file."""
    few = routers // 9
    for number in range(routers):
        profile = LOGINS[number % len(LOGINS)]
        version = "6.49.7" if profile == "old" else "7.14"
        if number < few:
            per_address = -(-few // ADDRESSES)
            host, port, site = f"127.20.0.{1 + number // per_address}", _FIRST_PORT + number % per_address, ""
        else:
            site = SITES[number % len(SITES)]
            host, port = f"127.{21 + number % len(SITES)}.{number // 250}.{1 + number % 250}", _FIRST_PORT
        login = {"password": passwords[profile]} if profile in passwords else {"public_keys": [key]}
        yield {
            "name": f"r{number:04}", "host": host, "port": port, "version": version, "size": size, "seed": 7,
            "username": "backup", "site": site, "profile": profile, **login,
        }  # fmt: skip


@contextmanager
def _simulating(root: Path, roster: list[dict[str, Any]]) -> Iterator[tuple[subprocess.Popen[bytes], list[Any]]]:
    file, announced, jump_hosts = root / "roster.jsonl", root / "routers.jsonl", root / "jump_hosts.jsonl"
    file.write_text("".join(json.dumps(router) + "\n" for router in roster), "utf-8")
    argv = [sys.executable, "-m", "backupflow.simulator", "--routers", str(file), "--announce", str(announced)]
    argv += ["--jump-hosts", str(len(SITES) - 1), "--announce-jump-hosts", str(jump_hosts), "--ignore-stdin"]
    argv += ["--control", str(root / "control")]
    simulator = subprocess.Popen(argv)
    try:
        wait_for(announced.exists, "the simulated routers", 120)
        yield simulator, [json.loads(line) for line in jump_hosts.read_text("utf-8").splitlines()]
    finally:
        simulator.terminate()
        simulator.wait(30)


def _logins(told: Told, root: Path, passwords: dict[str, str]) -> None:
    for name in LOGINS:
        source = ["--key-file", str(root / "core.key")]
        if name in passwords:
            source = ["--password-file", _secret(root / f"{name}.password", passwords[name])]
        told.command("credential", "add", name, "--username", "backup", "--trust", "tofu", *source)


def _jump_hosts(told: Told, root: Path, sshd: OpenSshServer, simulated: list[Any]) -> None:
    phrase = _secret(root / "phrase", sshd.passphrase)
    key = _secret(root / "jump.key", sshd.key_path.read_text("ascii"))
    logins = [(sshd.user, "127.0.0.1", sshd.port, ["--key-file", key, "--passphrase-file", phrase])]
    for one in simulated:
        source = ["--password-file", _secret(root / f"{one['name']}.password", one["password"])]
        logins.append((one["username"], one["host"], one["port"], source))
    for site, (user, host, port, source) in zip(SITES, logins, strict=True):
        told.command("credential", "add", f"hop-{site}", "--username", user, *source)
        told.command("jump", "add", f"hop-{site}", host, "--port", str(port), "--profile", f"hop-{site}")


def _write_csv(path: Path, roster: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        columns = ("name", "host", "port", "profile", "site")
        rows = csv.DictWriter(file, columns, extrasaction="ignore")
        rows.writeheader()
        rows.writerows(roster)


def _secret(path: Path, text: str) -> str:
    path.touch(0o600)
    path.write_text(text, "utf-8")
    return str(path)


def _make_key(path: Path) -> str:
    command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path.with_name(path.name + ".pub").read_text("ascii").strip()


def _hop_down(install: Install, control: Path, seconds: float) -> None:
    """Keep the jump host of the last site down, and tell what that did to the devices behind it."""
    _bid(control, "stop")
    time.sleep(seconds)
    _bid(control, "resume")
    began = time.monotonic()
    back = install.rows("SELECT now() AS at")[0].at
    behind = "FROM device d JOIN site s ON s.id = d.site_id WHERE s.name = :site"
    fresh = (
        f"SELECT count(*) AS n {behind} AND EXISTS (SELECT 1 FROM collection c WHERE c.device_id = d.id "  # noqa: S608
        "AND c.state = 'stored' AND c.started_at > :back)"
    )
    there = install.rows(f"SELECT count(*) AS n {behind}", site=SITES[-1])[0].n
    wait_for(
        lambda: install.rows(fresh, site=SITES[-1], back=back)[0].n == there, "all behind it stored", LONGEST_SECONDS
    )
    counted = install.rows("SELECT coalesce(sum(failures + losses), 0) AS n FROM device")[0].n
    alarms = install.rows("SELECT code, count(*) AS n FROM alarm GROUP BY code")
    print(f"a jump host down for {seconds:g} s: {counted} failures counted against devices, alarms {alarms}")
    print(f"all {there} behind it stored {time.monotonic() - began:.1f} s after it was back")
    print(_failed(install))


def _bid(control: Path, what: str) -> None:
    """Tell the simulator what its last jump host is to do."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(control))
        line.sendall(json.dumps({"jump": f"j{len(SITES) - 1}", "do": what}).encode() + b"\n")
        if not json.loads(line.makefile().readline())["ok"]:
            raise AssertionError(what)


def _stored(install: Install) -> int:
    return int(install.rows("SELECT count(DISTINCT device_id) AS n FROM collection WHERE state = 'stored'")[0].n)


def _failed(install: Install) -> str:
    rows = install.rows(
        "SELECT state, code, count(*) AS n FROM collection WHERE state NOT IN ('stored', 'claimed', 'running', "
        "'published') GROUP BY state, code ORDER BY n DESC"
    )
    return "not stored: " + (", ".join(f"{row.n} {row.state} {row.code or ''}" for row in rows) or "none")


if __name__ == "__main__":
    main()
