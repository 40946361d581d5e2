"""What every test shares: a real Chromium, the order of slow kinds, and no silent skips in CI."""

import os
import shutil
from collections.abc import Generator
from typing import Any

import pytest

pytest_plugins = ["durable.testing.fixtures"]

CHROMIUM = next(
    filter(
        None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    ),
    None,
)
IN_CI = os.environ.get("CI", "").strip().lower() in {"1", "true", "yes"}


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Start the machine's Chromium; as root it runs only without its sandbox."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": arguments}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the test database in a file, as the service's is: in memory, a reader meets locks that no file has."""
    from django.db import connections

    connections["default"].settings_dict["TEST"]["NAME"] = str(
        tmp_path_factory.mktemp("database") / "site.sqlite3"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run quick tests first. Browser tests come last: Playwright leaves a loop running that async tests cannot share."""

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("browser"):
            return 2
        return 1 if item.get_closest_marker("cluster") or item.get_closest_marker("mutants") else 0

    items.sort(key=rank)  # stable: the random order stays within each kind


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip browser tests where there is no browser."""
    if item.get_closest_marker("browser") is None:
        return
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    # Playwright's synchronous API keeps a loop running in this thread, where Django would refuse the ORM.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped browser test is a failure: it would hide that the browser is missing."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("browser"):
        report.outcome = "failed"
        report.longrepr = f"a browser test must not be skipped in CI: {report.longrepr}"
    return report
