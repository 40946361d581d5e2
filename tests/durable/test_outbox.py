"""Outputs wait for their commits, in order, and only for them."""

import asyncio

import pytest

from durable.errors import StorageError
from durable.runtime.outbox import Emit, Outbox


class Board:
    """Notes what has left."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.lease = True

    def emit(self, name: str) -> Emit:
        return lambda error: self.left.append(name if error is None else f"{name}: {error}")

    def outbox(self, *, relaxed: bool = False) -> Outbox:
        return Outbox(lambda: self.lease, relaxed=relaxed)


@pytest.fixture
def board() -> Board:
    return Board()


def test_G4_an_output_leaves_when_its_commit_is_durable(board: Board) -> None:
    outbox = board.outbox()
    outbox.put(2, board.emit("two"))
    outbox.durable(1)
    assert board.left == []
    outbox.durable(2)
    assert (board.left, len(outbox)) == (["two"], 0)


def test_G4_outputs_keep_their_order(board: Board) -> None:
    outbox = board.outbox()
    outbox.put(2, board.emit("write"))
    outbox.put(1, board.emit("read"))  # durable, but behind one that is not
    outbox.durable(1)
    assert board.left == []
    outbox.durable(3)
    assert board.left == ["write", "read"]


def test_G6_an_output_that_depends_on_nothing_leaves_at_once(board: Board) -> None:
    outbox = board.outbox()
    outbox.durable(4)
    outbox.put(4, board.emit("read"))
    assert board.left == ["read"]


def test_G4_a_failed_commit_fails_everything_that_waits_and_comes_later(board: Board) -> None:
    outbox = board.outbox()
    outbox.put(1, board.emit("one"))
    outbox.fail(StorageError("lost"))
    outbox.put(2, board.emit("two"))
    assert board.left == ["one: lost", "two: lost"]


def test_O4_nothing_leaves_while_the_lease_is_over(board: Board) -> None:
    outbox = board.outbox()
    board.lease = False
    outbox.put(0, board.emit("read"))
    outbox.durable(1)
    assert board.left == []
    board.lease = True
    outbox.release()
    assert board.left == ["read"]


def test_S13_relaxed_outputs_do_not_wait(board: Board) -> None:
    outbox = board.outbox(relaxed=True)
    outbox.put(9, board.emit("write"))
    assert board.left == ["write"]


async def test_A2_an_output_waits_for_the_alarm_index_too(board: Board) -> None:
    outbox = board.outbox()
    indexed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    outbox.durable(1)
    outbox.put(1, board.emit("alarm set"), indexed)
    outbox.put(1, board.emit("next"))
    assert board.left == []
    indexed.set_result(None)
    await asyncio.sleep(0)
    assert board.left == ["alarm set", "next"]
