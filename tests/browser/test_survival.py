"""Nothing said or drawn is lost, and nobody has to do anything: killed workers, restarts, lost networks, reloads."""

import json
import signal
import time

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.browser.conftest import Visitor
from tests.browser.person import Person
from tests.browser.wire import Wire
from tests.running_service import RunningService, eventually

Two = tuple[Person, Person]


@pytest.fixture
def together(mortal_service: RunningService, visitor: Visitor) -> Two:
    """Alice and Bob in a room that has something to lose."""
    room = mortal_service.create_room("Something to lose")
    alice, bob = visitor(mortal_service, "Alice").enter(room), visitor(mortal_service, "Bob").enter(room)
    alice.say("Before")
    bob.sees("Before")
    alice.draw_rectangle(300, 300)
    bob.has_board_of(alice)
    return alice, bob


def test_kill_9_of_every_worker_closes_no_socket_and_loses_nothing(
    mortal_service: RunningService, together: Two
) -> None:
    alice, bob = together
    spoken = ["Before"]
    for again in range(2):
        eventually(lambda: len(mortal_service.worker_pids()) == 2)
        victims = mortal_service.worker_pids()
        for pid in victims:
            mortal_service.kill(pid)
        killed = time.monotonic()
        alice.say(f"To Bob, {again}")
        bob.say(f"To Alice, {again}")
        bob.sees(f"To Bob, {again}")
        alice.sees(f"To Alice, {again}")
        print(f"kill -9 of every worker: the next messages arrived after {time.monotonic() - killed:.2f} s")
        assert time.monotonic() - killed < 10
        spoken += [f"To Bob, {again}", f"To Alice, {again}"]
        bob.draw_rectangle(500, 300 + 150 * again)
        alice.has_board_of(bob)
    for person in together:
        person.is_live()
        assert sorted(person.said()) == sorted(spoken)
        assert len(person.sockets) == 1
        assert person.closed_sockets == []


def test_a_killed_gateway_brings_its_people_back_by_themselves(
    mortal_service: RunningService, together: Two
) -> None:
    alice, bob = together
    killed = time.monotonic()
    for pid in mortal_service.gateway_pids():
        mortal_service.kill(pid)
    alice.say("Through another door")
    bob.sees("Through another door", timeout=30_000)
    print(f"kill -9 of every gateway: the next message arrived after {time.monotonic() - killed:.2f} s")
    for person in together:
        person.is_live()
        assert person.said() == ["Before", "Through another door"]
        assert len(person.sockets) > 1
    bob.has_board_of(alice)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ended_by", ["Ctrl-C", "kill -9 of everything"])
def test_after_a_restart_all_is_there_and_everybody_comes_back(
    mortal_service: RunningService, together: Two, visitor: Visitor, ended_by: str
) -> None:
    alice, bob = together
    if ended_by == "Ctrl-C":
        assert mortal_service.stop(signal.SIGINT) == 0
    else:
        mortal_service.crash()
    for person in together:
        expect(person.pill).not_to_have_attribute("data-state", "live")
    alice.box.fill("Said into the dark")
    alice.box.press("Enter")
    expect(alice.log.locator("[data-pending=true]")).to_have_count(1)
    mortal_service.start()
    back = time.monotonic()
    bob.sees("Said into the dark", timeout=40_000)
    print(
        f"restart after {ended_by}: what was said meanwhile arrived {time.monotonic() - back:.2f} s after the start"
    )
    carol = visitor(mortal_service, "Carol").enter(alice.page.url)
    carol.sees("Said into the dark")
    carol.has_board_of(alice)
    for person in together:
        person.is_live()
        assert person.said() == ["Before", "Said into the dark"]
    bob.draw_rectangle(500, 450)
    alice.has_board_of(bob)
    carol.has_board_of(bob)


def test_a_reload_shows_what_was_said_and_drawn(together: Two) -> None:
    alice, bob = together
    drawn = bob.elements()
    bob.page.reload()
    bob.is_in()
    bob.sees("Before")
    bob.has_board_of(alice)
    assert bob.elements() == drawn


def test_who_was_offline_gets_what_they_missed(together: Two) -> None:
    alice, bob = together
    bob.page.context.set_offline(True)
    expect(bob.pill).to_have_attribute("data-state", "reconnecting")
    alice.say("Bob, where are you?")
    alice.draw_rectangle(500, 450)
    bob.say("I had no network")
    expect(bob.log.locator("[data-pending=true]")).to_have_count(1)
    bob.page.context.set_offline(False)
    bob.is_live()
    bob.sees("Bob, where are you?")
    alice.sees("I had no network")
    bob.has_board_of(alice)
    assert alice.said() == bob.said() == ["Before", "Bob, where are you?", "I had no network"]


def post(room: str, texts: list[str]) -> None:
    """Say these in order, by few enough messages a socket that none of them is too fast."""
    address = room.replace("http://", "ws://").replace("/r/", "/ws/rooms/") + "/"
    for first in range(0, len(texts), 40):
        with connect(address, origin=Origin(room.partition("/r/")[0])) as socket:
            for text in texts[first : first + 40]:
                socket.send(json.dumps({"type": "chat", "id": text.replace(" ", "-")[:60], "text": text}))
                while json.loads(socket.recv(timeout=15))["type"] != "ack":
                    pass


def test_history_beyond_the_newest_hundred_comes_on_request(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Long talks")
    post(room, [f"Message {number}" for number in range(105)])
    bob = visitor(service, "Bob").enter(room)
    expect(bob.messages).to_have_count(100)
    bob.log.evaluate("log => log.scrollTo(0, 0)")
    bob.page.get_by_role("button", name="Load older").click()
    expect(bob.messages).to_have_count(105)
    assert bob.said() == [f"Message {number}" for number in range(105)]


def test_history_is_offered_too_when_the_welcome_came_in_parts(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Long words")
    post(room, [f"{number} {'word ' * 150}".strip() for number in range(105)])
    bob = visitor(service, "Bob").enter(room)
    expect(bob.messages).to_have_count(100)
    bob.log.evaluate("log => log.scrollTo(0, 0)")
    bob.page.get_by_role("button", name="Load older").click()
    expect(bob.messages).to_have_count(105)
    expect(bob.page.get_by_role("button", name="Load older")).to_have_count(0)


def test_a_request_for_older_messages_that_was_refused_can_be_made_again(
    service: RunningService, visitor: Visitor
) -> None:
    room = service.create_room("Too fast")
    post(room, [f"Message {number}" for number in range(105)])
    bob = visitor(service, "Bob")
    wire = Wire(bob.page)
    bob.enter(room)
    wire.swallows_sent = lambda frame: frame["type"] == "history"
    older = bob.page.get_by_role("button", name="Load older")
    older.click()
    expect(bob.page.get_by_role("button", name="Loading…")).to_be_disabled()
    wire.say(type="error", code="rate_limited", message="That is too fast; wait a moment.")
    expect(older).to_be_enabled()
    wire.swallows_sent = lambda frame: False
    older.click()
    expect(bob.messages).to_have_count(105)
