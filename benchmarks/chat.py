"""A load generator for chats: so many messages a second, and whether each reached every member once, in one order, and how soon.

Messages are due at fixed times and latencies count from then, so that a server that is late cannot slow down what it is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import uvloop

from .figures import percentile
from .websocket import WebSocketClient, open_sockets

LATEST_MS = 100.0
"""The p99 up to which a chat still feels live."""
TEXT = "the quick brown fox jumps over the lazy dog, again"
PATIENCE = 10.0  # seconds in which everything must have arrived, after the last was sent
SETTLING = 0.3  # seconds without a frame, after which everybody has heard who is there
_TICK = 0.001


class _Said(msgspec.Struct):
    type: str = ""
    id: str = ""
    seq: int = 0
    message: str = ""


_said = msgspec.json.Decoder(_Said)


@dataclass(frozen=True)
class Dialect:
    """How a chat speaks.

    Args:
        path: of a room, with `{room}` in it.
        say: the frame that posts a message with this id.
        heard: the id of the message in a frame; empty if it is none. Raises ValueError for a frame that says something was refused.
        keeps: whether a newcomer's welcome says how many messages are stored.
    """

    path: str
    say: Callable[[str], bytes]
    heard: Callable[[bytes], str]
    keeps: bool


def _room_heard(frame: bytes) -> str:
    said = _said.decode(frame)
    if said.type == "error":
        raise ValueError(frame.decode())
    return said.id if said.type in ("chat", "ack") else ""


ROOM = Dialect(
    "/ws/rooms/{room}/",
    lambda number: b'{"type":"chat","id":"%s","text":"%s"}' % (number.encode(), TEXT.encode()),
    _room_heard,
    keeps=True,
)
"""Our rooms: kept messages, an `ack` to the sender and a `chat` to everybody else."""

PLAIN = Dialect(
    "/ws/chat/{room}/",
    lambda number: b'{"message":"%s %s"}' % (number.encode(), TEXT.encode()),
    lambda frame: _said.decode(frame).message.partition(" ")[0],
    keeps=False,
)
"""The tutorials' chats: everybody gets every message, its sender too; nothing is kept."""


class Hearing:
    """What was heard in one room: the first member to hear a message sets the order that all others must hear.

    Args:
        due: when each message was due, by its number.
        latencies: gets the seconds of each delivery.
    """

    def __init__(self, due: Sequence[float], latencies: list[float]) -> None:
        self._due = due
        self._latencies = latencies
        self._order: list[int] = []
        self._seen: set[int] = set()
        self.wrong = 0

    def member(self) -> Callable[[int], None]:
        """Somebody who listens here: is told the number of each message that comes. One function, since it is what a generator does most."""
        due, latencies, order, seen, clock = (
            self._due, self._latencies, self._order, self._seen, time.perf_counter
        )  # fmt: skip
        at = 0

        def hear(number: int) -> None:
            nonlocal at
            latencies.append(clock() - due[number])
            if at < len(order):
                if order[at] != number:
                    self.wrong += 1
            else:
                self.wrong += number in seen  # a second time
                order.append(number)
                seen.add(number)
            at += 1

        return hear


@dataclass(frozen=True)
class Heard:
    """One run at one rate; `right` if every message reached every member once and in one order, and is stored where it should be."""

    offered: float  # deliveries a second
    sent: int
    expected: int
    delivered: int
    seconds: float
    p50_ms: float
    p99_ms: float
    right: bool
    busy: float
    why: str = ""
    cost: float = 0.0  # processor time of the servers for all of it, in seconds, if somebody reads it

    @property
    def per_second(self) -> float:
        """Deliveries a second, from the first send to the last delivery."""
        return self.delivered / self.seconds

    @property
    def live(self) -> bool:
        """Whether it was right, and soon enough."""
        return self.right and self.p99_ms <= LATEST_MS


class Crowd:
    """Members in every room, who take turns to speak.

    Args:
        host: where the chat runs.
        port: of it.
        dialect: what it speaks.
        rooms: their names.
        members: of each room.
        meter: reads the processor time that the servers have used, in seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        dialect: Dialect,
        rooms: Sequence[str],
        members: int,
        meter: Callable[[], float] = float,
    ) -> None:
        self._meter = meter
        self._address = host, port
        self._dialect = dialect
        self._rooms = rooms
        self._members = members
        self._refused: list[str] = []
        self._due: list[float] = []
        self._latencies: list[float] = []
        self._hearings = [Hearing(self._due, self._latencies) for _ in rooms]

    def at(self, rate: float, seconds: float) -> Heard:
        """Send `rate` messages a second, in all rooms together, and see what comes of it."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._at(rate, seconds))

    async def _at(self, rate: float, seconds: float) -> Heard:
        before = await self._stored()
        members = await self._enter()
        cost, busy, started = self._meter(), time.process_time(), time.perf_counter()
        await self._speak(members, rate, seconds)
        expected = len(self._due) * self._members
        await self._until_all_heard(members, expected)
        took = time.perf_counter() - started
        busy = (time.process_time() - busy) / took
        cost = self._meter() - cost
        ended = sum(client.ended for client in members)
        for client in members:
            client.close()
        try:
            why = self._wrong(expected, await self._stored() - before, ended)
        except TimeoutError:  # they refuse newcomers, or answer too late
            why = "the rooms cannot be entered any more"
        return Heard(
            offered=rate * self._members,
            sent=len(self._due),
            expected=expected,
            delivered=len(self._latencies),
            seconds=took,
            p50_ms=percentile(self._latencies or [PATIENCE], 0.5) * 1000,
            p99_ms=percentile(self._latencies or [PATIENCE], 0.99) * 1000,
            right=not why,
            busy=busy,
            why=why,
            cost=cost,
        )

    def _wrong(self, expected: int, stored: int, ended: int) -> str:
        """What was not as it should be; empty if all was."""
        if self._refused:
            return f"refused: {self._refused[0]}"
        if ended:
            return f"{ended} sockets were closed"
        if len(self._latencies) != expected:
            return f"{len(self._latencies)} deliveries of {expected}"
        if wrong := sum(hearing.wrong for hearing in self._hearings):
            return f"{wrong} deliveries out of order or twice"
        if self._dialect.keeps and stored != len(self._due):
            return f"{stored} stored of {len(self._due)}"
        return ""

    async def _enter(self) -> list[WebSocketClient]:
        """Everybody comes, a member of each room in turn, and waits until there is nothing left to hear about that."""
        paths = [self._dialect.path.format(room=room) for _ in range(self._members) for room in self._rooms]
        clients = await open_sockets(*self._address, paths, self._listener)
        frames, since = -1, time.perf_counter()
        while time.perf_counter() - since < SETTLING:
            await asyncio.sleep(SETTLING / 10)
            if frames != (frames := sum(client.texts for client in clients)):
                since = time.perf_counter()
        return clients

    def _listener(self, index: int) -> Callable[[bytes], None]:
        hear, heard = self._hearings[index % len(self._rooms)].member(), self._dialect.heard

        def listen(frame: bytes) -> None:
            try:
                number = heard(frame)
                if number:
                    hear(int(number.rpartition("-")[2]))
            except ValueError as error:
                self._refused.append(str(error))

        return listen

    async def _speak(self, members: list[WebSocketClient], rate: float, seconds: float) -> None:
        run = time.time_ns()  # a message's id is new in its room
        say, started = self._dialect.say, time.perf_counter()
        for number in range(round(rate * seconds)):
            due = started + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            elif number % 32 == 0:
                await asyncio.sleep(0)  # late: what comes must be read all the same
            self._due.append(due)
            members[number % len(members)].send(say(f"{run}-{number}"))

    async def _until_all_heard(self, members: list[WebSocketClient], expected: int) -> None:
        """Return when every delivery has come, or no longer can."""
        until = time.perf_counter() + PATIENCE
        while len(self._latencies) < expected and time.perf_counter() < until:
            if self._refused or any(client.ended for client in members):
                return
            await asyncio.sleep(_TICK)

    async def _stored(self) -> int:
        """How many messages all rooms say they have."""
        if not self._dialect.keeps:
            return 0
        loop = asyncio.get_running_loop()
        numbers: list[asyncio.Future[int]] = [loop.create_future() for _ in self._rooms]

        def listener(index: int) -> Callable[[bytes], None]:
            def listen(frame: bytes) -> None:
                said: Any = _said.decode(frame)
                if said.type == "welcome" and not numbers[index].done():
                    numbers[index].set_result(said.seq)

            return listen

        paths = [self._dialect.path.format(room=room) for room in self._rooms]
        clients = await open_sockets(*self._address, paths, listener)
        async with asyncio.timeout(PATIENCE):
            stored = sum(await asyncio.gather(*numbers))
        for client in clients:
            client.close()
        return stored


def most_live(
    attempt: Callable[[float], Heard], lowest: float, highest: float, refinements: int = 4
) -> Heard:
    """The run with the highest rate that was still right and live: doubling until one is not, then bisecting.

    A failed rate is tried once more, since a neighbour's hiccup on the machine fails it as well. If nothing was live, the first run.

    Args:
        attempt: runs at a rate, in messages a second.
        lowest: where to begin.
        highest: not to be exceeded.
        refinements: bisections; after four the rate is known to a tenth.
    """

    def tried(rate: float) -> Heard:
        heard = attempt(rate)
        return heard if heard.live else attempt(rate)

    best, rate = tried(lowest), lowest
    good, bad = lowest, 0.0
    if not best.live:
        return best
    while rate < highest and not bad:
        rate = min(rate * 4, highest)
        heard = tried(rate)
        if heard.live:
            best, good = heard, rate
        else:
            bad = rate
    for _ in range(refinements if bad else 0):
        rate = (good * bad) ** 0.5
        heard = tried(rate)
        if heard.live:
            best, good = heard, rate
        else:
            bad = rate
    return best
