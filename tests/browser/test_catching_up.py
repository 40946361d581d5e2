"""A page and its room agree again after something went past the page: lost frames, a restored copy, a name, the end."""

from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.browser.wire import Wire
from tests.running_service import RunningService

MAY_LEAVE = "window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"


def test_after_a_restored_copy_open_pages_show_what_the_room_has(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Put back")
    alice, bob = visitor(service, "Alice").enter(room), visitor(service, "Bob").enter(room)
    alice.say("Before the copy")
    bob.sees("Before the copy")
    alice.draw_rectangle(300, 300)
    bob.has_board_of(alice)
    as_copied = alice.elements()
    service.manage("objects", "backup", "Room", room.rpartition("/")[2])
    alice.page.keyboard.press("ArrowRight")
    alice.page.wait_for_function(
        "version => window.durableRoom.elements()[0].version > version",
        arg=next(iter(as_copied.values()))["version"],
    )
    alice.is_synced()
    bob.has_board_of(alice)
    for number in range(3):
        alice.say(f"After the copy {number}")
        bob.sees(f"After the copy {number}")
    service.manage("objects", "restore", "Room", room.rpartition("/")[2])
    for person in (alice, bob):
        expect(person.messages).to_have_text(["Before the copy"], timeout=30_000)
        person.is_live()
        person.page.wait_for_function(
            "version => window.durableRoom.elements()[0].version === version",
            arg=next(iter(as_copied.values()))["version"],
        )
        assert person.elements() == as_copied

    alice.page.context.set_offline(True)
    expect(alice.pill).to_have_attribute("data-state", "reconnecting")
    news = [f"News {number}" for number in range(8)]
    for text in news:
        bob.say(text)
        bob.sees(text)
    alice.page.context.set_offline(False)
    expect(alice.messages).to_have_text(["Before the copy", *news], timeout=30_000)
    alice.page.keyboard.press("ArrowRight")
    alice.is_synced()
    bob.has_board_of(alice)


def test_a_frame_that_never_came_is_asked_for_once(service: RunningService, visitor: Visitor) -> None:
    room = service.create_room("A gap")
    alice, bob = visitor(service, "Alice"), visitor(service, "Bob").enter(room)
    wire = Wire(alice.page)
    alice.enter(room)
    wire.swallows_heard = lambda frame: frame.get("text") == "Two" and frame["type"] == "chat"
    for text in ("One", "Two", "Three", "Four"):
        bob.say(text)
        bob.sees(text)
    expect(alice.messages).to_have_text(["One", "Two", "Three", "Four"])
    alice.say("Five")
    bob.sees("Five")
    alice.draw_rectangle(300, 300)
    bob.has_board_of(alice)
    bob.draw_rectangle(500, 450)
    alice.has_board_of(bob)
    assert [frame for frame in wire.sent if frame["type"] == "sync"] == [{"type": "sync", "since": 1}]

    for _ in range(20):
        wire.say(type="heartbeat", activeUsers=2, seq=1_000_000)
    alice.say("Six")
    bob.sees("Six")
    assert len([frame for frame in wire.sent if frame["type"] == "sync"]) <= 2


def test_all_that_was_missed_counts_as_unread_once(service: RunningService, visitor: Visitor) -> None:
    room = service.create_room("Unread")
    alice, bob = visitor(service, "Alice").enter(room), visitor(service, "Bob")
    bob.page.set_viewport_size({"width": 390, "height": 844})
    wire = Wire(bob.page)
    bob.enter(room)
    bob.page.context.set_offline(True)
    expect(bob.pill).to_have_attribute("data-state", "reconnecting")
    for number in range(10):
        alice.say(f"{number} " + "x" * 3900)
        expect(alice.messages).to_have_count(number + 1)
    bob.page.context.set_offline(False)
    unread = bob.page.get_by_test_id("unread")
    expect(unread).to_have_text("10 unread")
    wire.swallows_heard = lambda frame: frame.get("text") == "Lost" and frame["type"] == "chat"
    for text in ("Lost", "The next"):
        alice.say(text)
        alice.sees(text)
    expect(bob.messages).to_have_count(12)
    expect(unread).to_have_text("12 unread")


def test_a_tab_that_comes_back_does_not_undo_a_name_given_in_another(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Two tabs")
    bob, anna = visitor(service, "Bob").enter(room), visitor(service, "Anna").enter(room)
    second = Person(anna.page.context.new_page(), "Anna").enter(room)
    second.rename("Zoe")
    bob.sees_people("Bob", "Zoe")
    with anna.page.expect_websocket() as socket:
        anna.page.evaluate("window.dispatchEvent(new Event('offline'))")
    assert parse_qs(urlsplit(socket.value.url).query)["name"] == ["Zoe"]
    anna.is_live()
    for person in (bob, anna, second):
        person.sees_people("Bob", "Zoe")


def test_in_a_closed_room_nothing_that_was_written_is_lost(service: RunningService, visitor: Visitor) -> None:
    room = service.create_room("Closed")
    alice, bob = visitor(service, "Alice"), visitor(service, "Bob").enter(room)
    wire = Wire(alice.page)
    alice.enter(room)
    wire.swallows_sent = lambda frame: frame["type"] == "chat"
    alice.say("On its way")
    expect(alice.log.locator("[data-pending=true]")).to_have_count(1)
    alice.box.fill("Half a thou")
    wire.close(4401)
    expect(alice.pill).to_have_attribute("data-state", "closed")
    expect(alice.page.get_by_role("button", name="Send")).to_be_disabled()
    expect(alice.box).to_have_value("Half a thou")
    assert alice.box.evaluate("box => box.readOnly && !box.disabled")
    expect(alice.log.locator(".message-refusal")).to_contain_text("Not sent")
    assert alice.page.evaluate(MAY_LEAVE) is False

    wire.swallows_sent = lambda frame: False
    alice.page.get_by_role("link", name="Load again").click()
    alice.is_in()
    expect(alice.box).to_have_value("Half a thou")
    expect(alice.log.locator(".message-refusal")).to_contain_text("Not sent")
    alice.page.get_by_role("button", name="Try again").click()
    bob.sees("On its way")
    alice.box.press("Enter")
    bob.sees("Half a thou")
    alice.page.reload()
    alice.is_in()
    expect(alice.box).to_have_value("")
    assert alice.said() == ["On its way", "Half a thou"]


def test_a_link_without_its_scheme_is_a_link_for_the_others_too(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Linked")
    alice, bob = visitor(service, "Alice").enter(room), visitor(service, "Bob").enter(room)
    alice.draw_rectangle(300, 300)
    alice.page.keyboard.press("Control+k")
    alice.page.locator(".excalidraw-hyperlinkContainer-input").fill("example.com/page")
    alice.page.keyboard.press("Enter")
    linked = (
        "() => window.durableRoom.elements().some((element) => element.link === 'https://example.com/page')"
    )
    for person in (alice, bob):
        person.page.wait_for_function(linked)
    alice.is_synced()
    bob.has_board_of(alice)
