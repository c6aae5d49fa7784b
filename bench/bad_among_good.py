"""Healthy routers beside mute and dripping ones, in a whole install: who waits for whom?

Everything is as shipped, but for the concurrency and the first-run spread; beat, workers and servers are real, and the
routers a process of their own. A healthy one keeps its login waiting for 2 s. Rounds, each from the moment in which
all of it is due to the last export of a healthy one:

1. first contact, nothing known: the bad ones are mute before their banner, or drip an answer until the deadline
2. the healthy ones alone
3. all, and of the bad ones it is known from an earlier round: a third mute before the banner, a third after the
   command, a third drip

Between two rounds what the bad ones hold is waited for, and what is known of connections (a router's own firewall
would let nobody come so often) is taken away.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from sqlalchemy import make_url

from backupflow.core.model import Login
from tests.acceptance.install import Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST_SECONDS = 1200.0
MUTE = {"mute": "banner"}
MUTE_LATER = {"mute": "command"}
DRIPS = {"bytes_per_second": 20}
WELL = {"mute": "", "bytes_per_second": None}
_REST = {
    "CONFIG_BACKUP_INTERVAL": 86_400,
    "CONFIG_BACKUP_SPREAD_FROM": 3600,
    "CONFIG_BACKUP_SPREAD_TO": 3600,
}


@dataclass
class Routers:
    """The simulated routers, steered through their standard input."""

    process: subprocess.Popen[str]
    known: Sequence[dict[str, Any]]
    bad: frozenset[str]

    def behave(self, name: str, how: dict[str, Any]) -> None:
        """Let one behave so from now on."""
        if self.process.stdin and self.process.stdout:
            self.process.stdin.write(json.dumps({"router": name, "behave": {**WELL, **how}}) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            if not json.loads(answer)["ok"]:
                raise SystemExit(answer)

    def let_bad(self, *ways: dict[str, Any]) -> None:
        """Let the bad ones behave in these ways, in turn."""
        for number, name in enumerate(sorted(self.bad)):
            self.behave(name, ways[number % len(ways)])


@dataclass
class Bench:
    """An install with its routers."""

    install: Install
    routers: Routers

    def admin(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """As the superuser of its database."""
        url = make_url(self.install.wiring.settings.servers.database_url)
        password = (self.install.data / "secrets" / "admin.postgres").read_text("utf-8").strip()
        where = psycopg.conninfo.make_conninfo(host=url.host, port=url.port, dbname=url.database, user="admin")
        with psycopg.connect(where, password=password) as connection:
            found = connection.execute(statement, values)
            return found.fetchall() if found.description else []

    def round(self, what: str, *, bad: bool, known: bool = True) -> float:
        """Make them due, and wait for the healthy ones; seconds. `known`: of the bad ones, from an earlier round."""
        self._rest()
        self._forget(known=known)
        names = {router["name"] for router in self.routers.known}
        healthy = sorted(names - self.routers.bad)
        began = self.admin("SELECT clock_timestamp()")[0][0]
        self.admin(
            "UPDATE device SET next_due_at = now() WHERE name = ANY(%(names)s)", names=sorted(names) if bad else healthy
        )

        def collected() -> list[Any]:
            return [
                row[0]
                for row in self.admin(
                    "SELECT max(c.collected_at) FROM collection c JOIN device d ON d.id = c.device_id "
                    "WHERE d.name = ANY(%(healthy)s) AND c.claimed_at >= %(began)s AND c.collected_at IS NOT NULL "
                    "GROUP BY d.id",
                    healthy=healthy,
                    began=began,
                )
            ]

        wait_for(lambda: len(collected()) == len(healthy), f"{what}: {len(healthy)} exports", LONGEST_SECONDS)
        seconds = float((max(collected()) - began).total_seconds())
        self._say(what, seconds, began)
        return seconds

    def _say(self, what: str, seconds: float, began: Any) -> None:  # noqa: ANN401 - a time
        ended = self.admin(
            "SELECT c.lane, coalesce(c.code, c.state), count(*) FROM collection c WHERE c.claimed_at >= %(began)s "
            "GROUP BY 1, 2 ORDER BY 1, 3 DESC",
            began=began,
        )
        print(
            f"{what:55} {seconds:6.1f} s   " + ", ".join(f"{lane} {code} {count}" for lane, code, count in ended),
            flush=True,
        )

    def _forget(self, *, known: bool) -> None:
        """The connections of the rounds before, and what came of them; their lane only if nothing is to be known."""
        self.admin(
            "UPDATE device SET met_at = NULL, hold_until = NULL, wary_until = NULL, failures = 0, losses = 0, "
            "unreachable_since = NULL, next_due_at = now() + interval '1 day'"
        )
        if not known:
            self.admin("UPDATE device SET lane = 'collect'")

    def _rest(self) -> None:
        """Wait until nothing is under way; what a bad one is due for again is put off."""

        def idle() -> bool:
            self.admin(
                "UPDATE device SET next_due_at = now() + interval '1 day' WHERE next_due_at < now() + interval '1 hour'"
            )
            return not self.admin("SELECT 1 FROM collection WHERE state IN ('claimed', 'running', 'published') LIMIT 1")

        wait_for(idle, "nothing under way", LONGEST_SECONDS)


def main() -> None:
    """Run it and print a line a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--healthy", type=int, default=140)
    parser.add_argument("--bad", type=int, default=60)
    parser.add_argument("--slots", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0, help="that a healthy router takes")
    parser.add_argument("--known", type=int, default=1, metavar="N", help="how often what is known is measured")
    parser.add_argument("--quick", action="store_true", help="without the rounds of unknown routers that drip")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backupflow-bench-") as scratch:
        _run(Path(scratch), asked)


def _run(root: Path, asked: argparse.Namespace) -> None:
    install = Install(root, CONFIG_BACKUP_MAX_CONCURRENT=asked.slots, **_REST)
    with _simulating(root, asked) as routers:
        install.start()
        try:
            for router in routers.known:
                install.add(router["name"], router["port"], Login(router["username"], router["password"]))
            bench = Bench(install, routers)
            print(f"{asked.healthy} healthy routers of {asked.seconds:g} s, {asked.bad} bad, {asked.slots} slots")
            _rounds(bench, asked)
        finally:
            install.stop()


def _rounds(bench: Bench, asked: argparse.Namespace) -> None:
    ways: dict[str, tuple[dict[str, Any], ...]] = {"nothing known, the bad ones mute before the banner": (MUTE,)}
    if not asked.quick:
        ways |= {"nothing known, half mute, half dripping": (MUTE, DRIPS), "nothing known, all dripping": (DRIPS,)}
    took = {}
    for what, how in ways.items():
        bench.routers.let_bad(*how)
        took[what] = bench.round(what, bad=True, known=False)
    bench.routers.let_bad(MUTE, MUTE_LATER, DRIPS)
    alone = 0.0
    for _ in range(max(asked.known, 1)):
        alone = bench.round("the healthy ones alone", bad=False)
        took["the bad ones known from an earlier round"] = known = bench.round("the bad ones known", bad=True)
        print(f"{known / alone:.2f} x", flush=True)
    for what, seconds in took.items():
        print(f"{what}: {seconds / alone:.2f} x")


@contextmanager
def _simulating(root: Path, asked: argparse.Namespace) -> Iterator[Routers]:
    announced = root / "routers.jsonl"
    argv = [sys.executable, "-m", "backupflow.simulator", "--count", str(asked.healthy + asked.bad)]
    with subprocess.Popen(
        [*argv, "--announce", str(announced)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_for(announced.exists, "the simulated routers", 60)
            known = [json.loads(line) for line in announced.read_text("utf-8").splitlines()]
            every = len(known) / asked.bad if asked.bad else 0  # they lie among the others
            bad = frozenset(known[int(number * every)]["name"] for number in range(asked.bad))
            routers = Routers(process, known, bad)
            for router in known:
                if router["name"] not in bad:
                    routers.behave(router["name"], {"login_delay": asked.seconds})
            yield routers
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
