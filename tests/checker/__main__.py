"""`python -m tests.checker --data-dir DIR --history FILE`: check the install that runs on a folder; exits with 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from backupflow.cli.install import open_wiring
from tests.checker.case import Terms
from tests.checker.check import judge, verdict
from tests.checker.reading import gather


def main(argv: list[str]) -> int:
    """Print a line a finding, or that every promise holds."""
    parser = argparse.ArgumentParser(prog="python -m tests.checker", description="Check every promise of an install.")
    parser.add_argument("--data-dir", type=Path, required=True, help="the folder that `backupflow up` runs on")
    parser.add_argument("--history", type=Path, required=True, help="the simulator's events, a JSON document a line")
    parser.add_argument("--settled", action="store_true", help="every router's newest configuration must be current")
    parser.add_argument("--interpreted", action="store_true", help="every change must have been interpreted")
    given = parser.parse_args(argv)
    wiring = open_wiring(given.data_dir)
    try:
        evidence = gather(wiring.engine("reader"), wiring.vault("reader"), given.history)
        collecting = wiring.settings.collecting
        terms = Terms(
            settled=frozenset(evidence.routers) if given.settled else frozenset(),
            policy=wiring.policy,
            interpreted=given.interpreted,
            emit_again_after=collecting.emit_again_after,
            lost_after=collecting.lost_after,
        )
    finally:
        wiring.close()
    findings = judge(evidence, terms)
    for finding in findings:
        print(finding)  # noqa: T201 - a script prints
    print(verdict(evidence, findings))  # noqa: T201 - a script prints
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
