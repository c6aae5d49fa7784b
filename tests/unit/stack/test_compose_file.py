"""The file in other words is still the file."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from tests.stack.compose_file import COMPOSE, services, translated

SHARED = """
x-health: &health {test: [CMD, a b, "c"], interval: 1s}
services:
  one: {healthcheck: *health}
  two: {healthcheck: *health}
  three: {healthcheck: {test: [CMD-SHELL, "x | y"]}, environment: {A: "${A:-}", B: "${B:-b}"}}
  four: {command: [z]}
"""


def test_a_health_check_is_one_text_for_each_container() -> None:
    """The first word of a list is taken away by the first container, and the second by the next."""
    found = {name: one.get("healthcheck", {}).get("test") for name, one in translated(SHARED)["services"].items()}
    assert found == {"one": "'a b' c", "two": "'a b' c", "three": "x | y", "four": None}
    assert shlex.split(str(found["one"])) == ["a b", "c"]


def test_a_default_of_nothing_is_nothing() -> None:
    """And another default stays, for podman-compose to fill in."""
    assert translated(SHARED)["services"]["three"]["environment"] == {"A": "${A}", "B": "${B:-b}"}


def test_nothing_else_of_the_file_is_another() -> None:
    """What is tried is what is shipped."""

    def rest(found: dict[str, Any]) -> dict[str, Any]:
        return {name: {key: one[key] for key in one if key != "healthcheck"} for name, one in found.items()}

    whole = translated(COMPOSE.read_text("utf-8"))
    assert rest(whole["services"]) == rest(services())
    assert {key: whole[key] for key in ("networks", "volumes", "name")} == {
        key: yaml.safe_load(COMPOSE.read_text("utf-8"))[key] for key in ("networks", "volumes", "name")
    }
