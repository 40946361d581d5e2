"""The room in one hand: board and chat take turns, and nothing sticks out of the screen."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.running_service import RunningService

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


@pytest.fixture
def room(service: RunningService) -> str:
    return service.create_room("On the way")


@pytest.fixture
def alice(service: RunningService, visitor: Visitor, room: str) -> Person:
    """Alice on her phone."""
    return visitor(service, "Alice", **PHONE).enter(room)


def tab(person: Person, name: str) -> None:
    person.page.get_by_role("navigation", name="Views").get_by_role("button", name=name).tap()


def test_board_and_chat_take_turns(alice: Person) -> None:
    in_reach = alice.page.get_by_role("textbox", name="Message")
    expect(in_reach).to_have_count(0)
    expect(alice.page.get_by_role("radio", name="Rectangle")).to_have_count(1)
    tab(alice, "Chat")
    expect(in_reach).to_be_in_viewport(ratio=1)
    expect(alice.page.get_by_role("radio", name="Rectangle")).to_have_count(0)
    tab(alice, "Board")
    expect(in_reach).to_have_count(0)


def test_what_came_out_of_sight_is_counted(
    service: RunningService, visitor: Visitor, room: str, alice: Person
) -> None:
    bob = visitor(service, "Bob").enter(room)
    unread = alice.page.get_by_role("navigation", name="Views").get_by_test_id("unread")
    bob.say("One")
    bob.say("Two")
    expect(unread).to_contain_text("2")
    expect(alice.page).to_have_title("(2) On the way · Durable Rooms")
    tab(alice, "Chat")
    alice.sees("Two")
    expect(unread).to_be_hidden()
    expect(alice.page).to_have_title("On the way · Durable Rooms")


def test_a_message_is_sent_with_the_thumb(
    service: RunningService, visitor: Visitor, room: str, alice: Person
) -> None:
    bob = visitor(service, "Bob").enter(room)
    tab(alice, "Chat")
    alice.box.tap()
    alice.page.keyboard.type("From the train")
    alice.page.get_by_role("button", name="Send").tap()
    bob.sees("From the train")


def test_a_finger_draws(service: RunningService, visitor: Visitor, room: str, alice: Person) -> None:
    bob = visitor(service, "Bob").enter(room)
    alice.draw_rectangle(120, 250)
    bob.has_board_of(alice)


@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("path", ["/", "room", "/no/such/page"])
def test_no_page_is_wider_than_the_screen(
    service: RunningService, visitor: Visitor, room: str, path: str, width: int
) -> None:
    alice = visitor(service, "Alice", **{**PHONE, "viewport": {"width": width, "height": 568}})
    alice.page.goto(room if path == "room" else path)
    if path == "room":
        alice.is_in()
    assert alice.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


ALL_OF_THE_BAR = """
() => document.querySelector("[data-testid=connection]").dataset.state === "reconnecting"
  && [...document.querySelectorAll(".bar > *")].every((part) => {
    const { left, right } = part.getBoundingClientRect();
    return left >= 0 && right <= innerWidth;
  })
"""


@pytest.mark.parametrize("width", [390, 320])
def test_the_bar_keeps_all_its_buttons_while_the_connection_is_lost(
    service: RunningService, visitor: Visitor, width: int
) -> None:
    room = service.create_room("A title that is long enough to be in the way")
    visitor(service, "Bob").enter(room)
    phone = {**PHONE, "viewport": {"width": width, "height": 568}}
    alice = visitor(service, "Alice", **phone).enter(room)
    alice.sees_people("Alice", "Bob")
    alice.page.context.set_offline(True)
    alice.page.wait_for_function(ALL_OF_THE_BAR)
    expect(alice.page.get_by_role("status").first).to_have_text("Reconnecting")


def test_a_narrow_window_can_be_used(service: RunningService, visitor: Visitor, room: str) -> None:
    alice = visitor(service, "Alice", **{**PHONE, "viewport": {"width": 320, "height": 568}}).enter(room)
    assert alice.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab(alice, "Chat")
    alice.say("Small")
    alice.sees("Small")
