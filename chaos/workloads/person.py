"""One person in a room: speaks and draws, comes back when the connection is lost, and asks for what was missed."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from chaos.history import Frame, Pending, SocketEvent, Stored
from chaos.service import ServiceFailedError, until

from .workload import Stage

SAY_PACE = 0.12
DRAW_EVERY = 4
MAX_UNACKNOWLEDGED = 20
INSIST_SECONDS = 5.0
"""A frame without an acknowledgement for so long is sent again on the same connection; its id makes that harmless. An
acknowledgement may be lost with the owner that should have sent it, like a broadcast."""
SYNC_SECONDS = 0.5
SETTLE_SECONDS = 30.0
WELCOME_SECONDS = 45.0
SNAPSHOT_MESSAGES = 100
"""A snapshot has the newest messages only; with fewer it is complete."""
SHARED = "shared"
COME_BACK_SECONDS = (0.05, 0.3)


class Person:
    """One client of one room: what it has sent, what it has, and the connection it has at the moment."""

    _connections = 0

    def __init__(self, stage: Stage, slug: str, name: str, cookie: str) -> None:
        self._stage = stage
        self._slug = slug
        self.name = name
        self._cookie = cookie
        self._chance = stage.chance(name)
        self._connection = 0
        self._said = 0
        self._unacknowledged: dict[
            str, tuple[Pending, str]
        ] = {}  # in the order in which they were first sent
        self._repeated: set[str] = set()
        self._messages: set[str] = set()
        self._newest = 0  # every number up to here is known
        self._floor = 0  # messages up to here were never told
        self._versions: dict[str, int] = {}
        self._asked = 0.0
        self._welcomes = 0  # on this connection

    # -- coming and going

    async def live(self) -> None:
        """Stay in the room until the run is over and everything is settled."""
        while True:
            url = f"ws://127.0.0.1:{self._stage.service.port}/ws/rooms/{self._slug}/"
            query = f"?name={quote(self.name)}&since={self._newest}"
            headers = {"Cookie": self._cookie} if self._cookie else {}
            try:
                async with connect(
                    url + query, additional_headers=headers, proxy=None, open_timeout=45, max_size=None
                ) as socket:
                    if await self._stay(socket):
                        return
            except (OSError, InvalidHandshake, TimeoutError, WebSocketException):
                self._stage.history.troubled(self.name, self._slug, "no socket")
            await asyncio.sleep(self._chance.uniform(*COME_BACK_SECONDS))

    async def _stay(self, socket: ClientConnection) -> bool:
        """Speak and listen on one connection; whether everything is settled."""
        Person._connections += 1
        self._connection = Person._connections
        self._welcomes = 0
        self._note("open")
        talking = asyncio.create_task(self._talk(socket))
        talking.add_done_callback(lambda done: self._gave_up(done, socket))
        try:
            async for text in socket:
                if text == "pong":
                    break
                self._receive(json.loads(text), socket)
            settled = talking.done() and not talking.cancelled() and talking.exception() is None
        except ConnectionClosed:
            settled = False
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        if not settled:
            self._note("lost", socket.close_code or 1006)
            return False
        held = {"messages": sorted(self._messages), "floor": self._floor}
        history = self._stage.history
        history.note(Stored(self._slug, "held", history.clock(), held, self.name))
        self._note("closed")
        return True

    def _gave_up(self, talking: asyncio.Task[None], socket: ClientConnection) -> None:
        """Who cannot go on with a connection tries another."""
        if not talking.cancelled() and isinstance(error := talking.exception(), ServiceFailedError):
            self._stage.history.troubled(self.name, self._slug, str(error))
            socket.transport.abort()

    def _note(self, event: Any, code: int = 0) -> None:
        history = self._stage.history
        history.note(SocketEvent(self.name, self._slug, self._connection, history.clock(), event, code))

    # -- speaking

    async def _talk(self, socket: ClientConnection) -> None:
        """Once welcomed, send what has no acknowledgement again, then new frames; at the end wait for what is outstanding."""
        await until(lambda: self._welcomes, WELCOME_SECONDS, "a welcome")
        await self._send_again(socket)
        while not self._stage.over.is_set():
            if len(self._unacknowledged) < MAX_UNACKNOWLEDGED:
                await self._say(socket) if self._said % DRAW_EVERY else await self._draw(socket)
            await self._insist(socket)
            await self._stage.pause(SAY_PACE)
        begun = self._stage.history.clock()
        while self._stage.history.pending and self._stage.history.clock() - begun < SETTLE_SECONDS:
            await self._insist(socket)
            await asyncio.sleep(SAY_PACE)
        welcomes = self._welcomes
        await socket.send(json.dumps({"type": "sync", "since": self._newest}))
        await until(lambda: self._welcomes > welcomes, WELCOME_SECONDS, "the answer to a sync")
        await socket.send("ping")  # its answer tells the listener that this is the end

    async def _insist(self, socket: ClientConnection) -> None:
        """Send everything again, in order, when the oldest has waited too long."""
        oldest = next(iter(self._unacknowledged.values()), None)
        if oldest is not None and self._stage.history.clock() - oldest[0].sent[-1] > INSIST_SECONDS:
            await self._send_again(socket)

    async def _send_again(self, socket: ClientConnection) -> None:
        self._repeated |= set(self._unacknowledged)
        for pending, frame in list(self._unacknowledged.values()):
            pending.sent.append(self._stage.history.clock())
            await socket.send(frame)

    async def _say(self, socket: ClientConnection) -> None:
        self._said += 1
        frame_id = f"{self.name.replace(' ', '-')}-{self._said}"
        text = f"{self.name} says {self._said}"
        pending = self._stage.history.begin(self.name, self._slug, "say", id=frame_id, n=self._said)
        await self._send(socket, frame_id, pending, {"type": "chat", "id": frame_id, "text": text})

    async def _draw(self, socket: ClientConnection) -> None:
        """A new version of an element: of one's own, or of one that everybody draws."""
        self._said += 1
        frame_id = f"{self.name.replace(' ', '-')}-{self._said}"
        element = SHARED if self._said % (2 * DRAW_EVERY) else f"own-{self.name.replace(' ', '-')}"
        version = self._versions.get(element, 0) + 1
        self._versions[element] = version
        nonce = self._chance.getrandbits(31)
        pending = self._stage.history.begin(
            self.name,
            self._slug,
            "draw",
            id=frame_id,
            n=self._said,
            element=element,
            version=version,
            nonce=nonce,
        )
        shape = {
            "id": element,
            "type": "rectangle",
            "version": version,
            "versionNonce": nonce,
            "x": self._said,
        }
        await self._send(socket, frame_id, pending, {"type": "draw", "id": frame_id, "elements": [shape]})

    async def _send(self, socket: ClientConnection, frame_id: str, pending: Pending, frame: Any) -> None:
        text = json.dumps(frame)
        self._unacknowledged[frame_id] = (pending, text)
        pending.sent.append(self._stage.history.clock())
        await socket.send(text)

    # -- listening

    def _receive(self, frame: dict[str, Any], socket: ClientConnection) -> None:
        kind = frame.get("type", "")
        if kind in ("chat", "draw", "ack", "welcome", "heartbeat"):
            history = self._stage.history
            history.note(
                Frame(
                    self.name,
                    self._slug,
                    self._connection,
                    history.clock(),
                    kind,
                    frame["seq"],
                    frame.get("id", ""),
                )
            )
        if kind in ("welcome", "part"):
            self._told(frame)
        elif kind == "chat":
            self._messages.add(frame["id"])
            self._reached(frame["seq"], socket, new=True)
        elif kind == "draw":
            self._drawn(frame["elements"])
            self._reached(frame["seq"], socket, new=True)
        elif kind == "ack":
            self._reached(frame["seq"], socket, new=self._made(frame["id"]))
            self._acknowledged(frame["id"], frame["seq"])
        elif kind == "heartbeat":
            self._reached(frame["seq"], socket, new=False)
        elif kind == "error":
            self._refused(frame)

    def _told(self, frame: dict[str, Any]) -> None:
        messages = frame["messages"]
        if frame.get("mode") == "snapshot":
            self._messages.clear()
            self._floor = messages[0]["seq"] - 1 if len(messages) >= SNAPSHOT_MESSAGES else 0
        for message in messages:
            self._messages.add(message["id"])
            self._acknowledged(message["id"], message["seq"])
        self._drawn(frame["elements"])
        if frame.get("type") == "welcome":
            self._newest = max(self._newest, frame["seq"])
            self._welcomes += 1

    def _drawn(self, elements: list[dict[str, Any]]) -> None:
        for element in elements:
            known = self._versions.get(element["id"], 0)
            self._versions[element["id"]] = max(known, element["version"])
            for frame_id, (pending, _) in list(self._unacknowledged.items()):
                drawn = (pending.argument.get("element"), pending.argument.get("version"))
                same_nonce = pending.argument.get("nonce") == element["versionNonce"]
                if drawn == (element["id"], element["version"]) and same_nonce:
                    self._acknowledged(frame_id, 0)

    def _acknowledged(self, frame_id: str, seq: int) -> None:
        known = self._unacknowledged.pop(frame_id, None)
        self._repeated.discard(frame_id)
        if known is not None:
            if known[0].kind == "say":
                self._messages.add(frame_id)
            known[0].ok(seq=seq)

    def _refused(self, frame: dict[str, Any]) -> None:
        known = self._unacknowledged.pop(frame.get("id", ""), None)
        problem = f"error frame {frame.get('code')}"
        if known is not None:
            known[0].fail(problem)
        else:
            self._stage.history.troubled(self.name, self._slug, problem)

    def _made(self, frame_id: str) -> bool:
        """Whether the number in an acknowledgement is that frame's own: a drawing that did not win gets the newest one."""
        known = self._unacknowledged.get(frame_id)
        if known is None or known[0].kind == "say":
            return known is not None
        return frame_id not in self._repeated and known[0].argument["element"] != SHARED

    def _reached(self, seq: int, socket: ClientConnection, *, new: bool) -> None:
        """A number was heard of: what comes next and is `new` is as it should be; otherwise something was missed."""
        if new and seq == self._newest + 1:
            self._newest = seq
        elif seq > self._newest:
            now = self._stage.history.clock()
            if now - self._asked > SYNC_SECONDS:
                self._asked = now
                ask = json.dumps({"type": "sync", "since": self._newest})
                task = asyncio.ensure_future(socket.send(ask))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
