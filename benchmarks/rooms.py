"""What a room costs: many cursors, joining a full board, and a history that has grown."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from .figures import Figure, percentile, tell
from .plan import Plan
from .processes import busy_seconds
from .service import Service, service
from .websocket import WebSocketClient, open_sockets

PEOPLE = 50
MOVES_A_SECOND = 10.0  # of each
PER_FRAME = 500  # elements
PATIENCE = 30.0


class Member:
    """One member of a room: hears frames, and can wait for one."""

    def __init__(self) -> None:
        self.heard = 0
        self.cursors: dict[str, tuple[float, float]] = {}
        self._waiting: list[tuple[Callable[[dict[str, Any]], bool], asyncio.Future[dict[str, Any]]]] = []
        self.client: WebSocketClient

    def hear(self, text: bytes) -> None:
        """A frame has come."""
        frame = json.loads(text)
        if frame["type"] == "presence":
            self.heard += 1
            cursor = frame.get("cursor")
            if cursor:
                self.cursors[frame["user"]] = (cursor["x"], cursor["y"])
        for wanted, answer in self._waiting:
            if not answer.done() and wanted(frame):
                answer.set_result(frame)

    async def next(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next frame that is wanted."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, answer))
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        finally:
            self._waiting.remove((wanted, answer))

    def send(self, frame: dict[str, Any]) -> None:
        """Send a frame."""
        self.client.send(json.dumps(frame).encode())

    async def acknowledged(self, frame: dict[str, Any]) -> None:
        """Send a frame, and wait until it is durable. Raises TimeoutError."""
        sending = asyncio.ensure_future(
            self.next(lambda got: got["type"] in ("ack", "error") and got.get("id") == frame["id"])
        )
        await asyncio.sleep(0)
        self.send(frame)
        answer = await sending
        if answer["type"] == "error":
            raise ValueError(answer["message"])


async def enter(running: Service, slug: str, *names: str) -> list[Member]:
    """Members of a room, who are there when this returns."""
    members = [Member() for _ in names]
    welcomes = [
        asyncio.ensure_future(member.next(lambda frame: frame["type"] == "welcome")) for member in members
    ]
    await asyncio.sleep(0)
    paths = [f"/ws/rooms/{slug}/?name={name}" for name in names]
    port = running.processes.port
    clients = await open_sockets("127.0.0.1", port, paths, lambda index: members[index].hear)
    for member, client in zip(members, clients, strict=True):
        member.client = client
    await asyncio.gather(*welcomes)
    return members


async def rooms(plan: Plan) -> AsyncIterator[Figure]:
    """Cursors, a full board, a long history."""
    async with service() as running:
        async for figure in _cursors(running, plan):
            yield figure
        async for figure in _boards(running, plan):
            yield figure
        async for figure in _histories(running, plan):
            yield figure


def _new_room(running: Service) -> str:
    return running.processes.create_room("Bench").rpartition("/")[2]


async def _cursors(running: Service, plan: Plan) -> AsyncIterator[Figure]:
    """Fifty people who all move at once; the room may leave out positions, but not the last ones."""
    tell(f"{PEOPLE} people move their cursors")
    members = await enter(running, _new_room(running), *(f"P{n}" for n in range(PEOPLE)))
    pids = running.processes.worker_pids() + running.processes.gateway_pids()
    rates, costs = [], []
    right = True
    for round_ in range(plan.rounds):
        before, busy, begun = (
            sum(one.heard for one in members),
            sum(map(busy_seconds, pids)),
            time.perf_counter(),
        )
        moves = max(1, round(plan.seconds * MOVES_A_SECOND))
        for move in range(moves):
            for n, member in enumerate(members):
                member.send({"type": "presence", "cursor": {"x": n, "y": round_ * 1000 + move}})
            wait = begun + (move + 1) / MOVES_A_SECOND - time.perf_counter()
            await asyncio.sleep(max(0.0, wait))
        last = float(round_ * 1000 + moves - 1)
        try:
            async with asyncio.timeout(PATIENCE):
                while not all(_has_all(member, last) for member in members):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            right = False
        took = time.perf_counter() - begun
        heard = sum(one.heard for one in members) - before
        rates.append(heard / took)
        costs.append((sum(map(busy_seconds, pids)) - busy) / max(1, heard) * 1e6)
        right = right and not any(member.client.ended for member in members)
    for member in members:
        member.client.close()
    what = f"cursors of {PEOPLE}, {MOVES_A_SECOND:g} moves a second each"
    yield Figure(f"{what}: positions delivered", "per second", tuple(rates), right=right)
    yield Figure(f"{what}: processor time a position", "µs", tuple(costs), right=right)


def _has_all(member: Member, last: float) -> bool:
    """Whether a member knows where each of the others is."""
    return len(member.cursors) >= PEOPLE - 1 and all(y == last for _, y in member.cursors.values())


async def _boards(running: Service, plan: Plan) -> AsyncIterator[Figure]:
    """Joining a board: from the request to its last element."""
    for size in plan.boards:
        tell(f"a board of {size:,} elements")
        slug = _new_room(running)
        (artist,) = await enter(running, slug, "Artist")
        for begin in range(0, size, PER_FRAME):
            elements = [_shape(n) for n in range(begin, min(size, begin + PER_FRAME))]
            await artist.acknowledged({"type": "draw", "id": f"d{begin}", "elements": elements})
        latencies, right = [], True
        for n in range(plan.rounds):
            begun = time.perf_counter()
            right = await _join(running, slug, f"Guest{n}") == size and right
            latencies.append((time.perf_counter() - begun) * 1000)
        artist.client.close()
        yield Figure(f"joining a board of {size:,} elements", "ms", tuple(latencies), right=right)


async def _join(running: Service, slug: str, name: str) -> int:
    """How many elements a newcomer is told of, who asks for the rest as long as there is one."""
    seen: set[str] = set()
    loop = asyncio.get_running_loop()
    complete: asyncio.Future[None] = loop.create_future()
    opened: asyncio.Future[WebSocketClient] = loop.create_future()

    async def ask(rest: str) -> None:
        client = await opened  # the welcome can be here before who opens the socket knows
        client.send(json.dumps({"type": "more", "next": rest}).encode())

    def hear(text: bytes) -> None:
        frame = json.loads(text)
        if frame["type"] in ("welcome", "part"):
            seen.update(element["id"] for element in frame["elements"])
            if "next" in frame:
                asking.append(asyncio.ensure_future(ask(frame["next"])))
            elif (frame.get("complete") or frame.get("last")) and not complete.done():
                complete.set_result(None)

    asking: list[asyncio.Future[None]] = []
    port = running.processes.port
    (client,) = await open_sockets("127.0.0.1", port, [f"/ws/rooms/{slug}/?name={name}"], lambda _: hear)
    opened.set_result(client)
    async with asyncio.timeout(PATIENCE):
        await complete
    client.close()
    return len(seen)


def _shape(n: int) -> dict[str, Any]:
    place = {"x": n % 100 * 20, "y": n // 100 * 20, "width": 15, "height": 15}
    return {"id": f"e{n}", "type": "rectangle", "version": 1, "versionNonce": n, **place}


async def _histories(running: Service, plan: Plan) -> AsyncIterator[Figure]:
    """Posting to a room and joining it, as its history grows."""
    slug = _new_room(running)
    (speaker,) = await enter(running, slug, "Speaker")
    said = 0
    for size in plan.histories:
        tell(f"a history of {size:,} messages")
        while said < size:  # as fast as a room takes frames from one socket
            await speaker.acknowledged({"type": "chat", "id": f"m{said}", "text": f"message {said}"})
            said += 1
            await asyncio.sleep(plan.between_messages)
        posts, joins, right = [], [], True
        for n in range(plan.rounds * 5):
            begun = time.perf_counter()
            await speaker.acknowledged({"type": "chat", "id": f"m{said}", "text": "one more"})
            posts.append((time.perf_counter() - begun) * 1000)
            said += 1
            begun = time.perf_counter()
            (guest,) = await enter(running, slug, f"Guest{n}")
            joins.append((time.perf_counter() - begun) * 1000)
            right = right and not guest.client.ended
            guest.client.close()
            await asyncio.sleep(0.05)
        yield Figure(f"a post, after {size:,} messages, p50", "ms", (percentile(posts, 0.5),), right=right)
        yield Figure(f"joining, after {size:,} messages, p50", "ms", (percentile(joins, 0.5),), right=right)
    speaker.client.close()
