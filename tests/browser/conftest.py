"""Real services, and people with browsers of their own whose pages are watched for what no page may do."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.person import Person
from tests.browser.watch import Watch
from tests.running_service import RunningService, running_service

Visitor = Callable[..., Person]

DESKTOP = {"width": 1280, "height": 800}
WITHIN_MS = 15_000
expect.set_options(timeout=WITHIN_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Without a graphics card, and without the requests that a browser makes on its own account."""
    quiet = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    arguments = [*browser_type_launch_args["args"], *quiet, "--no-first-run"]
    return {**browser_type_launch_args, "args": arguments}


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """A service that all tests share and none harms."""
    with (
        tempfile.TemporaryDirectory(prefix="durable-browser-") as path,
        running_service(Path(path)) as service,
    ):
        yield service


@pytest.fixture(scope="session")
def mortal_service() -> Iterator[RunningService]:
    """A service whose processes are killed, and which is stopped and started again."""
    with (
        tempfile.TemporaryDirectory(prefix="durable-browser-") as path,
        running_service(Path(path)) as service,
    ):
        yield service


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test when a page broke its security policy, threw an error, or spoke to another host."""
    watch = Watch()
    yield watch
    assert not watch.offences, "\n".join(watch.offences)


@pytest.fixture
def visitor(new_context: Callable[..., BrowserContext], watch: Watch) -> Visitor:
    """Somebody with a browser of their own: `visitor(service, "Alice", color_scheme="dark")`."""

    def visit(service: RunningService, name: str = "", **options: Any) -> Person:
        if name:
            remembered = [{"name": "durable-rooms:name", "value": name}]
            options["storage_state"] = {
                "cookies": [],
                "origins": [{"origin": service.base_url, "localStorage": remembered}],
            }
        context = new_context(
            **{"base_url": service.base_url, "viewport": DESKTOP, "locale": "en-GB", **options}
        )
        watch.over(context, service.base_url)
        return Person(context.new_page(), name)

    return visit
