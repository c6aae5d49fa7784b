"""podman-compose is told what docker compose would be, and what it prints is taken apart."""

from __future__ import annotations

import pytest

from tests.stack.compose_words import heard, refused, told

TOLD = b"['podman', '--version', '']\nusing podman version: 4.3.1\npodman run --name=x_tmp1 -i image cat /f\n"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("up -d --scale worker-collect=4", "up --no-build -d"),
        ("up -d --scale a=4 --scale b=2 postgres redis", "up --no-build -d postgres redis"),
        ("run --rm -T keeper backup-system", "run --no-deps --rm -T keeper backup-system"),
        ("down", "down"),
    ],
)
def test_only_what_it_does_not_know_is_left_out(typed: str, words: str) -> None:
    """The services that are named stay named."""
    assert told(["docker", "compose", *typed.split()]) == tuple(words.split())


def test_another_program_is_not_run() -> None:
    """A page that says `docker run` is to be tried as it stands, or not at all."""
    with pytest.raises(ValueError, match="no docker compose: docker run"):
        told(["docker", "run", "image"])


@pytest.mark.parametrize("said", [b"", b"one\ntwo\n", b"\x00\xff no end", b"exit code: 1\nmore\n", b"podman run x\n"])
def test_what_the_command_said_is_given_byte_for_byte(said: bytes) -> None:
    """A sealed file that passes through has no line more and no line less."""
    assert heard(TOLD + said + b"exit code: 0\n") == (0, said)


def test_the_status_is_that_of_the_command() -> None:
    """Its own is 0 whatever happened."""
    assert heard(TOLD + b"exit code: 78\n") == (78, b"")


@pytest.mark.parametrize("said", [b"", b"no such service\n", TOLD, b"exit code: 0\n"])
def test_a_command_that_was_not_run_is_no_success(said: bytes) -> None:
    """An end without a beginning, or a beginning without an end."""
    with pytest.raises(ValueError, match="ran nothing"):
        heard(said)


@pytest.mark.parametrize(
    ("statuses", "those"),
    [([], []), ([0, 0], []), ([125, 0], []), ([0, 125, 0, 0], []), ([125, 125], [125]), ([125, 126, 0], [125])],
)
def test_only_what_was_started_in_no_call_was_refused(statuses: list[int], those: list[int]) -> None:
    """A container that is there already is refused by `run`, and started by the call that follows."""
    said = "".join(f"podman run a\nexit code: {status}\n" for status in statuses)
    assert refused(said) == those
