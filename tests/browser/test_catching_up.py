"""A page and its room agree again after something went past the page: lost frames, a restored copy, a name, the end."""

from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.running_service import RunningService


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
