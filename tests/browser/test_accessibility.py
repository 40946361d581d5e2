"""axe finds nothing serious on any page, in the light and in the dark."""

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Visitor
from tests.browser.test_phone import PHONE
from tests.running_service import RunningService

Scheme = Literal["light", "dark"]

both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])


def offences(page: Page, without: list[str] | None = None) -> list[str]:
    """What axe calls serious or worse, with the places."""
    context: dict[str, Any] = {"include": [["html"]], "exclude": [[selector] for selector in without or []]}
    found = Axe().run(page, context=context).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


@both_schemes
def test_the_landing_page(service: RunningService, visitor: Visitor, scheme: Scheme) -> None:
    alice = visitor(service, "Alice", color_scheme=scheme, reduced_motion="reduce")
    alice.enter(service.create_room("A recent room"))
    alice.page.goto("/")
    assert offences(alice.page) == []


@both_schemes
def test_the_404_page(service: RunningService, visitor: Visitor, scheme: Scheme) -> None:
    alice = visitor(service, "Alice", color_scheme=scheme, reduced_motion="reduce")
    alice.page.goto("/no/such/page")
    assert offences(alice.page) == []


@both_schemes
@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_a_room(service: RunningService, visitor: Visitor, scheme: Scheme, screen: str) -> None:
    room = service.create_room("For everybody")
    options = PHONE if screen == "phone" else {}
    alice = visitor(service, "Alice", color_scheme=scheme, reduced_motion="reduce", **options).enter(room)
    bob = visitor(service, "Bob").enter(room)
    bob.say("With **bold**, `code` and https://example.org/")
    bob.draw_rectangle(300, 300)
    alice.has_board_of(bob)
    # Excalidraw's own tools are not ours to change.
    assert offences(alice.page, without=[".excalidraw"]) == []
    if screen == "phone":
        alice.page.get_by_role("navigation", name="Views").get_by_role("button", name="Chat").tap()
    else:
        alice.page.locator(".people-button").click()
    assert offences(alice.page, without=[".excalidraw"]) == []


def test_a_first_visit(service: RunningService, visitor: Visitor) -> None:
    stranger = visitor(service, reduced_motion="reduce").enter(service.create_room("Strangers"))
    stranger.page.get_by_test_id("name-dialog").wait_for()
    assert offences(stranger.page, without=[".excalidraw"]) == []
