"""What the options of a scope's settings and of its way say."""

from __future__ import annotations

import pytest
import typer

from backupflow.cli.device_settings import taken_back


def test_the_way_is_taken_back_as_a_setting_is() -> None:
    """`--unset jump` is `--jump ""`, beside settings and alone; without it the way is as it was named."""
    assert taken_back(["interval", "jump"], None) == (("interval_seconds",), "")
    assert taken_back(["jump"], "") == ((), "")
    assert taken_back(["interval"], "hop-1") == (("interval_seconds",), "hop-1")
    assert taken_back(None, None) == ((), None)


def test_a_way_is_not_named_and_taken_back_at_once() -> None:
    """Nobody knows which of them is meant."""
    with pytest.raises(typer.BadParameter, match="contradict"):
        taken_back(["jump"], "hop-1")
