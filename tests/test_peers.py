"""What judges a contest with a peer: the checks of a chat, the search for its limit, ratios, and the report."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.chat import PLAIN, ROOM, Heard, Hearing, most_live
from benchmarks.load import HttpConnection, Result
from benchmarks.peers.contests import Aim, Contest, rows
from benchmarks.peers.processes import PeerMissingError, program
from benchmarks.peers.report import bars, plot, tables
from benchmarks.peers.sides import RedisConnection
from benchmarks.peers.workloads import Outcome
from benchmarks.websocket import WebSocketClient, frame_at, frame_bytes
from tests.running_service import ROOT


def heard(*deliveries: tuple[int, int]) -> Hearing:
    hearing = Hearing([time.perf_counter()] * 10, [])
    members = {member: hearing.member() for member, _ in deliveries}
    for member, number in deliveries:
        members[member](number)
    return hearing


def run_at(rate: float, *, live: bool) -> Heard:
    return Heard(rate, 1, 1, 1, 1.0, 1.0, 50.0 if live else 500.0, True, 0.1)


# --- Chats ----------------------------------------------------------------------------------------


def test_one_order_for_all_is_right() -> None:
    assert heard((0, 3), (0, 1), (1, 3), (1, 1)).wrong == 0


@pytest.mark.parametrize(
    "deliveries",
    [
        pytest.param([(0, 1), (0, 2), (1, 2), (1, 1)], id="another order"),
        pytest.param([(0, 1), (0, 1)], id="twice to the first"),
        pytest.param([(0, 1), (0, 2), (1, 1), (1, 1)], id="twice to another"),
    ],
)
def test_another_order_or_a_second_delivery_is_wrong(deliveries: list[tuple[int, int]]) -> None:
    assert heard(*deliveries).wrong > 0


def test_a_member_is_told_of_a_message_by_an_ack_or_by_a_chat() -> None:
    assert ROOM.heard(b'{"type":"ack","id":"7-1","seq":4}') == "7-1"
    assert ROOM.heard(b'{"type":"chat","seq":4,"id":"7-1","text":"x"}') == "7-1"
    assert ROOM.heard(b'{"type":"join","user":{"id":"g1"}}') == ""
    assert PLAIN.heard(PLAIN.say("7-1")) == "7-1"


def test_a_refused_message_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="rate_limited"):
        ROOM.heard(b'{"type":"error","code":"rate_limited","message":"slower"}')


def test_the_search_ends_at_the_highest_live_rate() -> None:
    asked: list[float] = []

    def attempt(rate: float) -> Heard:
        asked.append(rate)
        return run_at(rate, live=rate <= 700)

    best = most_live(attempt, lowest=100, highest=10_000, refinements=4)
    assert 600 < best.offered <= 700
    assert asked.count(800) == 2  # a failure may be the machine's


def test_the_search_keeps_to_what_may_be_asked() -> None:
    assert most_live(lambda rate: run_at(rate, live=True), lowest=100, highest=500).offered == 500


def test_the_search_says_so_when_nothing_was_live() -> None:
    assert not most_live(lambda rate: run_at(rate, live=False), lowest=100, highest=500).live


# --- Parsers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length_are_found_and_only_when_whole(size: int) -> None:
    masked = frame_bytes(0x81, b"x" * size)
    lengths = 0 if size < 126 else 2 if size < 65_536 else 8
    frame = bytes((0x81, masked[1] & 0x7F)) + masked[2 : 2 + lengths] + masked[6 + lengths :]
    assert frame_at(b"__" + frame + b"more", 2) == (0x81, 4 + lengths, 4 + lengths + size)
    assert frame_at(frame[:-1], 0) is None


@pytest.mark.parametrize("piece", [1, 3, 100, 70_000, 1_000_000])
async def test_the_client_hands_over_every_text_however_the_stream_is_cut(piece: int) -> None:
    texts = [
        bytes([97 + index]) * size for index, size in enumerate((0, 1, 125, 126, 127, 65_535, 65_536, 2))
    ]
    stream = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    for text in texts:
        masked = frame_bytes(0x81, text)
        head = masked[: len(masked) - len(text) - 4]
        stream += bytes((0x81, head[1] & 0x7F)) + head[2:] + text + b"\x8a\x00"  # a pong after each
    got: list[bytes] = []
    client = WebSocketClient("host", "/", got.append)
    for at in range(0, len(stream), piece):
        client.data_received(stream[at : at + piece])
    assert got == texts
    assert client.texts == len(texts)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b":12\r\n", (200, b"12", 5)),
        (b"$2\r\n34\r\n", (200, b"34", 8)),
        (b"$-1\r\n", (200, b"0", 5)),
        (b"-ERR no\r\n", (500, b"ERR no", 9)),
        (b"$2\r\n34\r", None),
        (b":1", None),
    ],
)
async def test_answers_of_redis(data: bytes, found: tuple[int, bytes, int] | None) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    assert RedisConnection(lambda: None, Result(), 0.0, done).parse(data) == found


async def test_answers_over_http_are_taken_when_whole() -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection = HttpConnection(lambda: None, Result(), 0.0, done)
    answer = b"HTTP/1.1 429 Too Many\r\nContent-Length: 2\r\n\r\nno"
    assert connection.parse(answer) == (429, b"no", len(answer))
    assert connection.parse(answer[:-1]) is None


# --- Ratios ---------------------------------------------------------------------------------------


def contest(*turns: tuple[Outcome, Outcome], workload: str = "hot counter, 64 conn.") -> Contest:
    return Contest("workerd", workload, turns, tuple(1.0 for _ in turns))


def outcome(per_second: float, why: str = "", generator: float = 0.2) -> Outcome:
    return Outcome({"per second": per_second}, generator, why)


def test_the_ratio_is_the_median_of_the_turns() -> None:
    kept = contest((outcome(10), outcome(2)), (outcome(90), outcome(10)), (outcome(6), outcome(2))).as_json()
    [quantity] = kept["quantities"]
    assert (quantity["ours"], quantity["theirs"], quantity["ratio"]) == (10, 2, 5)
    assert quantity["met"] is False
    assert quantity["aim"] == "≥ 6"


def test_an_aim_is_a_lower_or_an_upper_bound() -> None:
    assert Aim(2).met(2.0)
    assert not Aim(2).met(1.9)
    assert Aim(0.5, least=False).met(0.4)
    assert not Aim(0.5, least=False).met(0.6)


def test_a_fast_wrong_answer_and_a_busy_generator_are_said() -> None:
    [row] = rows(contest((outcome(10, why="9 stored of 10"), outcome(2, generator=0.97))).as_json())
    assert "WRONG" in row
    assert "generator was the limit: theirs" in row
    assert "WRONG" not in next(rows(contest((outcome(10), outcome(2))).as_json()))


def test_a_side_that_failed_leaves_a_row_and_no_figure() -> None:
    kept = contest((outcome(10), Outcome({}, 0.0, "TimeoutError: no answer"))).as_json()
    assert kept["quantities"] == []
    assert "nothing could be measured" in tables([kept])


def test_the_plot_turns_round_what_should_be_little() -> None:
    memory = Contest(
        "workerd",
        "1,000 idle sockets",
        ((Outcome({"KiB per idle socket": 10.0}, 0.1), Outcome({"KiB per idle socket": 40.0}, 0.1)),),
        (1.0,),
    ).as_json()
    [(label, better, aim)] = bars([memory])
    assert (better, aim) == (4.0, 5.0)
    back = {"name": "all back after s", "ratio": 0.5, "aim_ratio": None}
    [(_, sooner, _)] = bars([{"peer": "workerd", "workload": "2,000 reconnect", "quantities": [back]}])
    assert sooner == 2.0
    root = ElementTree.fromstring(plot([(label, better, aim), ("a < b", 0.0001, None)]))
    assert any(text.text == "a < b" for text in root.iter("{http://www.w3.org/2000/svg}text"))


# --- The command ----------------------------------------------------------------------------------


def test_a_peer_that_does_not_exist_is_refused_by_name() -> None:
    command = [sys.executable, "-m", "benchmarks.peers", "miracles"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == 2
    assert "there is no peer miracles" in done.stderr


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(PeerMissingError, match="no surely-not-installed on the PATH"):
        program("surely-not-installed")
