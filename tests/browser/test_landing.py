"""The landing page and the ways from it into a room."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.running_service import RunningService


def test_the_form_makes_a_room_and_leads_into_it(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice")
    alice.page.goto("/")
    alice.page.get_by_label("Title").fill("Plans for <May>")
    alice.page.get_by_role("button", name="Create room").click()
    expect(alice.page).to_have_url(re.compile(r"/r/[1-9A-HJ-NP-Za-km-z]{22}$"))
    alice.is_in()
    expect(alice.page.get_by_role("heading", name="Plans for <May>")).to_be_visible()


def test_recent_rooms_lead_back(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice")
    room = service.create_room("Where we met")
    alice.enter(room)
    alice.page.get_by_role("link", name="All rooms").click()
    alice.page.get_by_role("region", name="Recent rooms").get_by_role("link", name="Where we met").click()
    expect(alice.page).to_have_url(room)
    alice.is_in()


def test_a_link_or_a_code_opens_its_room(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice")
    room = service.create_room("By its address")
    for address in (room, room.rpartition("/")[2]):
        alice.page.goto("/")
        alice.page.get_by_label("Have a link or a code?").fill(address)
        alice.page.get_by_role("button", name="Open", exact=True).click()
        expect(alice.page).to_have_url(room)


def test_a_title_is_needed(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice")
    alice.page.goto("/")
    title = alice.page.get_by_label("Title")
    title.evaluate("field => field.required = false")  # as a browser that does not check forms would
    alice.page.get_by_role("button", name="Create room").click()
    expect(alice.page.get_by_role("alert")).to_be_visible()
    expect(title).to_have_attribute("aria-invalid", "true")


def test_an_unknown_room_is_a_404_with_a_way_out(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice")
    for path in ("/r/1111111111111111111111", "/no/such/page"):
        answer = alice.page.goto(path)
        assert answer is not None
        assert answer.status == 404
        alice.page.get_by_role("link", name="Go to the front door").click()
        expect(alice.page.get_by_role("button", name="Create room")).to_be_visible()


def test_the_theme_is_kept_from_page_to_page(service: RunningService, visitor: Visitor) -> None:
    alice = visitor(service, "Alice", color_scheme="light")
    room = service.create_room("At night")
    alice.page.goto("/")
    light = alice.page.evaluate("getComputedStyle(document.body).backgroundColor")
    alice.page.get_by_role("button", name="Switch between light and dark").click()
    alice.page.wait_for_function(
        "light => getComputedStyle(document.body).backgroundColor !== light", arg=light
    )
    alice.enter(room)
    expect(alice.page.get_by_role("button", name="Light theme")).to_be_visible()
