"""The board and the chat log on a real SQLite database."""

import json

import apsw
import pytest
from msgspec import Raw

from rooms import board, chat
from rooms.board import Board, Place
from rooms.chat import Log, Message, newest_seq
from rooms.elements import parse_element
from rooms.logic import Totals


class Sql:
    """SQLite in memory with the interface of `ctx.storage.sql`."""

    def __init__(self):
        self.connection = apsw.Connection(":memory:")
        self.connection.execute(board.SCHEMA + chat.SCHEMA)

    def exec(self, statement, /, *bindings):
        return self.connection.execute(statement, bindings)


@pytest.fixture
def sql():
    return Sql()


def element(element_id, version=1, nonce=1, **fields):
    value = {"id": element_id, "type": "rectangle", "version": version, "versionNonce": nonce, **fields}
    return parse_element(Raw(json.dumps(value).encode()))


def draw(sql, seq, *elements):
    outcome = Board(sql).plan(elements, "f")
    if outcome.winners:
        Board(sql).apply(outcome, seq)
    return [winner.id for winner in outcome.winners]


def live(sql):
    return Board(sql).page(Place(0), deleted=False, budget=10**9)[0]


def since(sql, seq):
    return Board(sql).page(Place(seq), deleted=True, budget=10**9)[0]


def ids(texts):
    return [json.loads(text)["id"] for text in texts]


def test_an_empty_board(sql):
    view = Board(sql)
    assert (live(sql), since(sql, 0), newest_seq(sql), view.horizon()) == ([], [], 0, 0)
    assert view.totals() == Totals()
    assert draw(sql, 1) == []


def test_what_wins_is_stored_and_found_by_seq(sql):
    assert draw(sql, 1, element("a"), element("b")) == ["a", "b"]
    assert draw(sql, 2, element("a", 2, x=5), element("b", 1)) == ["a"]
    assert draw(sql, 3, element("a", 1), element("a", 2)) == []
    assert ids(live(sql)) == ["b", "a"]
    assert ids(since(sql, 1)) == ["a"]
    assert newest_seq(sql) == 2
    assert json.loads(since(sql, 1)[0])["x"] == 5


def test_a_deleted_element_stays_deleted_until_a_newer_version(sql):
    draw(sql, 1, element("a", 3))
    assert draw(sql, 2, element("a", 4, isDeleted=True)) == ["a"]
    assert draw(sql, 3, element("a", 3)) == []
    assert live(sql) == []
    assert json.loads(since(sql, 1)[0])["isDeleted"] is True
    assert Board(sql).totals().tombstones == 1
    assert draw(sql, 3, element("a", 5)) == ["a"]
    assert Board(sql).totals().live == 1
    assert Board(sql).totals().tombstones == 0


def test_totals_equal_what_is_there(sql):
    for seq in range(1, 30):
        draw(sql, seq, element(f"e{seq % 7}", seq, isDeleted=seq % 3 == 0, strokeColor="#" + "0" * (seq % 5)))
    counted = sql.connection.execute(
        "SELECT sum(deleted = 0), sum(deleted = 1), sum(length(data)) FROM elements"
    ).fetchone()
    assert Board(sql).totals() == Totals(*counted)


def test_the_oldest_tombstones_go_when_there_are_too_many(sql, monkeypatch):
    monkeypatch.setattr(board, "MAX_TOMBSTONES", 10)
    monkeypatch.setattr(board, "TOMBSTONES_PRUNED", 4)
    for seq in range(1, 12):
        draw(sql, seq, element(f"e{seq}", isDeleted=True))
    view = Board(sql)
    assert view.horizon() == 4
    assert ids(since(sql, 0)) == [f"e{seq}" for seq in range(5, 12)]
    assert view.totals().tombstones == 7
    assert view.totals().size == sum(len(text) for text in since(sql, 0))


@pytest.mark.parametrize("budget", [1, 200, 1000])
def test_pages_hold_everything_once(sql, budget):
    draw(sql, 1, *[element(f"a{number}") for number in range(5)])
    for seq in range(2, 8):
        draw(sql, seq, element(f"e{seq}", isDeleted=seq % 2 == 0), element(f"f{seq}"))
    for deleted in (False, True):
        whole = Board(sql).page(Place(0), deleted=deleted, budget=10**9)[0]
        assert len(whole) == (17 if deleted else 14)
        pages, place = [], Place(0)
        while place is not None:
            page, place = Board(sql).page(place, deleted=deleted, budget=budget)
            pages += page
        assert pages == whole


def post(log, client_id="m", user_id="g1", text="text"):
    return log.post(client_id, user_id, "Alice", "#fff", text, f"<p>{text}</p>", 1000)


def test_messages_are_read_in_pages(sql):
    log = Log(sql)
    assert (newest_seq(sql), log.newest(5)) == (0, [])
    for seq in range(1, 11):
        message = Message(seq, f"m{seq}", "g1", "Alice", "#fff", "text", "<p>text</p>", 1000)
        assert post(log, f"m{seq}") == (message, True)
    assert [entry.seq for entry in log.newest(3)] == [8, 9, 10]
    assert [entry.seq for entry in log.before(4, 2)] == [2, 3]
    assert [entry.seq for entry in log.since(8, 9)] == [9, 10]
    assert newest_seq(sql) == 10


def test_a_message_that_is_posted_again_is_the_one_that_is_there(sql):
    log = Log(sql)
    first, _ = post(log, "m", "g1")
    draw(sql, 2, element("e"))
    assert post(log, "m", "g1", "other words") == (first, False)
    second, is_new = post(log, "m", "g2")
    assert (second.seq, is_new) == (3, True)  # a client id belongs to one person
    assert [post(log, "m", "g1"), post(log, "m", "g2")] == [(first, False), (second, False)]
    assert newest_seq(sql) == 3


def test_who_has_no_cookie_is_known_by_the_words(sql):
    log = Log(sql)
    of_a_guest, _ = post(log, "m", "g1")
    first, is_new = post(log, "m", "a1")
    assert is_new
    assert post(log, "m", "a2") == (first, False)
    again, is_new = post(log, "m", "a2", "other words")
    assert (again.seq, is_new) == (3, True)
    assert post(log, "m", "a2") == (again, False)  # one's own comes before another's
    assert log.newest(9) == [of_a_guest, first, again]
