"""The game room: who sits, whose turn it is, and what the clock, a crash or a frame sent twice do to a game."""

import json
from typing import Any

import pytest

from durable.testing import LocalObjects, LocalSocket
from examples.tictactoe import TicTacToe


@pytest.fixture
def room(local: LocalObjects) -> TicTacToe:
    return TicTacToe.namespace.get_by_name("table-1")


async def sit(local: LocalObjects, room: TicTacToe, *names: str) -> list[LocalSocket]:
    return [await local.connect(room, user={"id": name}) for name in names]


async def newest(local: LocalObjects, socket: LocalSocket) -> dict[str, Any]:
    """The last frame that has arrived."""
    await local.settle()
    frame: dict[str, Any] = json.loads(socket.take()[-1])
    return frame


async def move(socket: LocalSocket, turn: int, cell: int) -> None:
    await socket.send(json.dumps({"turn": turn, "cell": cell}))


async def test_two_play_and_others_watch(local: LocalObjects, room: TicTacToe) -> None:
    sockets = await sit(local, room, "ada", "bob", "cyd", "ada")
    assert [(await newest(local, socket))["you"] for socket in sockets] == ["X", "O", None, "X"]
    await move(sockets[2], 0, 4)
    assert await newest(local, sockets[2]) == {"error": "not your turn"}


async def test_three_in_a_row_win_and_end_the_clock(local: LocalObjects, room: TicTacToe) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    for turn, cell in enumerate((0, 3, 1, 4, 2)):
        await move((ada, bob)[turn % 2], turn, cell)
    frame = await newest(local, bob)
    assert (frame["cells"], frame["winner"], frame["ends_at"]) == ("XXXOO    ", "X", None)
    assert local.alarm(room) is None
    await move(bob, 5, 5)
    assert await newest(local, bob) == {"error": "nobody plays now"}


async def test_a_full_board_is_a_draw_and_another_game_begins_with_the_other(
    local: LocalObjects, room: TicTacToe
) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    for turn, cell in enumerate((0, 1, 2, 4, 3, 5, 7, 6, 8)):
        await move((ada, bob)[turn % 2], turn, cell)
    assert (await newest(local, ada))["winner"] == "draw"
    for _ in range(2):  # the second one has no effect
        await ada.send('{"turn": 9, "again": true}')
    assert (await newest(local, bob))["you"] == "X"
    assert (await room.state()).players == ["bob", "ada"]


@pytest.mark.parametrize(("turn", "cell"), [(0, 4), (2, 4), (1, 0), (1, 9), (1, -1)])
async def test_a_frame_that_is_no_move_now_changes_nothing(
    local: LocalObjects, room: TicTacToe, turn: int, cell: int
) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    await move(ada, 0, 0)
    before = await room.state()
    await move(bob, turn, cell)
    assert await newest(local, bob) == {"error": "not a move"}
    assert await room.state() == before


async def test_the_clock_decides_also_while_the_room_sleeps(local: LocalObjects, room: TicTacToe) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    await move(ada, 0, 0)
    await local.evict(room)
    await local.advance(29)
    assert (await room.state()).winner is None
    await local.evict(room)
    await local.advance(1)
    assert (await newest(local, ada))["winner"] == "X"
    assert (await newest(local, bob))["winner"] == "X"


async def test_a_game_goes_on_at_the_next_owner_on_the_same_sockets(
    local: LocalObjects, room: TicTacToe
) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    await move(ada, 0, 0)
    ada.take()
    await local.crash()
    await move(bob, 1, 8)
    frame = await newest(local, ada)
    assert (frame["you"], frame["cells"]) == ("X", "X       O")


async def test_a_move_whose_owner_dies_before_anybody_hears_of_it_counts_once(
    local: LocalObjects, room: TicTacToe
) -> None:
    ada, bob = await sit(local, room, "ada", "bob")
    await local.settle()
    local.commits.hold()
    ada.post('{"turn": 0, "cell": 4}')
    await local.commits.waiting()
    local.commits.pass_through()
    await local.crash()
    await ada.handled()
    assert (await newest(local, bob))["cells"] == "    X    "
    assert (await room.state()).turn == 1


async def test_a_player_who_comes_back_has_the_same_seat(local: LocalObjects, room: TicTacToe) -> None:
    ada, _ = await sit(local, room, "ada", "bob")
    await ada.vanish()
    (again,) = await sit(local, room, "ada")
    assert (await newest(local, again))["you"] == "X"


@pytest.mark.parametrize("frame", ["", "[]", '{"turn": "0"}', b"\xff"])
async def test_what_is_no_frame_closes_the_socket(
    local: LocalObjects, room: TicTacToe, frame: str | bytes
) -> None:
    (ada,) = await sit(local, room, "ada")
    ada.post(frame)
    assert await ada.closed() == 4400
    assert (await room.state()).players == ["ada"]
