"""Who has no mouse is never stuck: no dialog drops the focus, and nothing takes it that cannot be seen."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.running_service import RunningService


@pytest.fixture
def room(service: RunningService) -> str:
    return service.create_room("Without a mouse")


@pytest.fixture
def alice(service: RunningService, visitor: Visitor, room: str) -> Person:
    return visitor(service, "Alice").enter(room)


def test_the_first_name_leads_to_the_conversation(
    service: RunningService, visitor: Visitor, room: str
) -> None:
    for answer in ("Save", "Skip"):
        stranger = visitor(service).enter(room)
        stranger.page.get_by_label("Your name").fill("Dora")
        stranger.page.get_by_role("button", name=answer).press("Enter")
        expect(stranger.page.get_by_test_id("name-dialog")).to_be_hidden()
        expect(stranger.box).to_be_focused()


@pytest.mark.parametrize("key", ["Enter", "Escape"])
def test_after_renaming_one_is_where_one_was(alice: Person, key: str) -> None:
    people = alice.page.locator(".people-button")
    people.press("Enter")
    alice.page.get_by_role("button", name="Rename yourself").press("Enter")
    expect(alice.page.get_by_label("Your name")).to_be_focused()
    alice.page.keyboard.press(key)
    expect(alice.page.get_by_test_id("name-dialog")).to_be_hidden()
    expect(people).to_be_focused()


def test_after_a_visit_one_is_where_one_was(
    service: RunningService, visitor: Visitor, room: str, alice: Person
) -> None:
    visitor(service, "Bob").enter(room)
    people = alice.page.locator(".people-button")
    people.press("Enter")
    alice.page.get_by_role("button", name="Go to the cursor of Bob").press("Enter")
    expect(people).to_be_focused()
