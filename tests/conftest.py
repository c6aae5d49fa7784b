"""What holds for every test: nothing is skipped, and one setting says how large a run is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from backupflow.embedded import ServerOptions, Servers, open_folder, start_servers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
Size = Literal["small", "soak"]

SIZE: Size = "soak" if os.environ.get("BACKUPFLOW_TEST_SIZE") == "soak" else "small"

# No deadlines: on a shared machine they measure the neighbours.
settings.register_profile("small", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("small"), max_examples=2000)
settings.load_profile(SIZE)


@pytest.fixture(scope="session")
def size() -> Size:
    """How large a run is wanted: `small` for every day, `soak` (BACKUPFLOW_TEST_SIZE=soak) for the full sizes."""
    return SIZE


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run all four real servers in one folder for the whole session: use databases, prefixes and names of your own.

    `servers.addresses` says where they are; `servers.secret_path("admin.postgres")`, `admin.redis` and `admin.nats` are
    files with the password of the user `admin`, `installer.openbao` one with JSON: role_id and secret_id.
    """
    place = tmp_path_factory.mktemp("servers")
    options = ServerOptions(fsync=False, seal_key=place / "seal.key")
    with open_folder(place / "data") as folder, start_servers(folder, options) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip or an expected failure into a failure: a test that does not run proves nothing."""
    report = yield
    return _fail_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    return _fail_if_skipped(report)


def _fail_if_skipped(report: Report) -> Report:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped or expected_failure:
        why = report.wasxfail if expected_failure else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"a test may be neither skipped nor expected to fail: {why}"
        if expected_failure:
            del report.wasxfail
    return report
