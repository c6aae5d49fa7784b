"""Have promtool, Prometheus's own judge, look at what is meant for Prometheus; it is of Debian's package `prometheus`.

    python -m tools.monitoring

The configuration, the rules and their unit tests, then what each process of a real install answers when it is scraped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tools.metrics_page import every_metric

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
FILES = ROOT / "deploy/prometheus"
FROM_BEAT = "backupflow_fleet_devices"
PATIENCE = 300.0  # seconds for an install to start on a busy machine


def main() -> int:
    """0 if all is well; what is not is printed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        print("there is no promtool here: apt-get install prometheus", file=sys.stderr)
        return 1
    judged = [
        subprocess.run([promtool, *words], cwd=FILES, check=False).returncode
        for words in (
            ("check", "config", "--syntax-only", "prometheus.yml"),
            ("check", "rules", "alerts.yml"),
            ("test", "rules", "alerts_test.yml"),
        )
    ]
    with tempfile.TemporaryDirectory(prefix="backupflow-monitoring-") as scratch, running(Path(scratch)) as addresses:
        judged += [judge(promtool, name, address) for name, address in addresses.items()]
    return max(judged)


@contextmanager
def running(scratch: Path) -> Iterator[dict[str, str]]:
    """An install of its own; where each of its processes is scraped."""
    data, log = scratch / "data", scratch / "log"
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "HOME") if name in os.environ}
    environment |= {"FLOWER_LISTEN": "off", "CONFIG_METRICS_DEVICES": "1"}
    command = [sys.executable, "-m", "backupflow", "--data-dir", str(data), "up"]
    with (
        log.open("w") as said,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said) as up,
    ):
        try:
            yield found(up, data / "run/prometheus.json")
        except TimeoutError:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            up.terminate()
            up.wait(PATIENCE)


def found(up: subprocess.Popen[bytes], told: Path) -> dict[str, str]:
    """The addresses, as soon as beat has gathered its figures."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and up.poll() is None:
        if told.is_file():
            addresses = {one["labels"]["process"]: one["targets"][0] for one in json.loads(told.read_text())}
            if all(scraped(address) for address in addresses.values()) and FROM_BEAT in scraped(addresses["beat"]):
                return addresses
        time.sleep(1)
    raise TimeoutError("the install did not start")


def scraped(address: str) -> str:
    """What it answers; empty: nothing yet."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def judge(promtool: str, name: str, address: str) -> int:
    """Whether promtool and the reference agree with what a process answers."""
    answer = scraped(address)
    judged = subprocess.run([promtool, "check", "metrics"], input=answer, text=True, check=False).returncode
    known = {line.name.removesuffix("_total") for line in every_metric()}
    families = [family.name for family in text_string_to_metric_families(answer)]
    strangers = [family for family in families if family not in known]
    for stranger in strangers:
        print(f"{name} tells {stranger}, which is not in docs/metrics.md", file=sys.stderr)
    print(f"{name}: {len(families)} metrics, {len(answer):,} bytes: {'well' if not judged else 'promtool objects'}")
    return judged or int(bool(strangers))


if __name__ == "__main__":
    sys.exit(main())
