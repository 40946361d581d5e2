"""The tutorial's chat, frame by frame."""

import pytest

from rooms.objects import DemoChat


@pytest.fixture
def chat(stage):
    return stage(DemoChat, "lobby")


async def test_the_others_receive_what_one_says(chat):
    alice, bob, cleo = await chat.connect(), await chat.connect(), await chat.connect()
    await alice.send({"user": "Alice", "text": "Hello!"})
    heard = {"user": "Alice", "text": "Hello!", "timestamp": chat.now()}
    assert (alice.take(), bob.take(), cleo.take()) == ([], [heard], [heard])


async def test_everybody_hears_how_many_are_connected(chat):
    alice, bob = await chat.connect(), await chat.connect()
    await chat.advance_to_alarm(30_000)
    beat = {"type": "heartbeat", "activeUsers": 2}
    assert (alice.take(), bob.take()) == ([beat], [beat])
    await chat.evict()
    await bob.close()
    await chat.advance_to_alarm(30_000)
    assert alice.take() == [{"type": "heartbeat", "activeUsers": 1}]
    await alice.send({"user": "Alice", "text": "awake"})
    await chat.crash()
    await alice.wait()
    assert alice.take() == [{"type": "heartbeat", "activeUsers": 1}]
    await alice.close()
    assert chat.next_alarm() is None


@pytest.mark.parametrize(
    "frame",
    ["", "no json", "[]", {}, {"user": "A"}, {"user": 1, "text": "x"}, {"user": "A", "text": "x" * 4001}],
)
async def test_malformed_input_gets_an_error_and_reaches_nobody(chat, frame):
    alice, bob = await chat.connect(), await chat.connect()
    await alice.send(frame)
    (error,) = alice.take()
    assert error["type"] == "error"
    assert error["message"]
    assert bob.take() == []
