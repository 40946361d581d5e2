"""Who has no mouse is never stuck: no dialog drops the focus, and nothing takes it that cannot be seen."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.running_service import RunningService

PICTURE = "await new Promise((done) => document.createElement('canvas').toBlob(done))"
COPY_A_PICTURE = f"""
async () => navigator.clipboard.write([new ClipboardItem({{ "image/png": {PICTURE} }})])
"""
DROP_A_PICTURE = f"""
async (canvas) => {{
  const data = new DataTransfer();
  data.items.add(new File([{PICTURE}], "picture.png", {{ type: "image/png" }}));
  canvas.dispatchEvent(new DragEvent("drop", {{ bubbles: true, cancelable: true, dataTransfer: data }}));
}}
"""
IN_THE_BOARD = "() => document.getElementById('board').contains(document.activeElement)"


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


def test_a_picture_is_refused_without_a_dialog(alice: Person) -> None:
    alice.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    alice.page.evaluate(COPY_A_PICTURE)
    canvas = alice.page.locator("canvas.interactive")
    canvas.click(position={"x": 400, "y": 550})
    notice = alice.page.get_by_test_id("notice")
    alice.page.keyboard.press("Control+V")
    expect(notice).to_contain_text("Images are disabled.")
    assert alice.page.evaluate(IN_THE_BOARD)
    notice.get_by_role("button", name="Dismiss").press("Enter")
    expect(notice).to_be_hidden()
    assert alice.page.evaluate(IN_THE_BOARD)
    canvas.evaluate(DROP_A_PICTURE)
    expect(notice).to_contain_text("Images are disabled.")
    expect(alice.page.get_by_role("dialog")).to_have_count(0)


def test_nothing_invisible_takes_the_focus(alice: Person) -> None:
    expect(alice.page.get_by_role("radio", name="Rectangle")).to_have_count(1)
    expect(alice.page.get_by_role("checkbox", name="Library")).to_have_count(0)
