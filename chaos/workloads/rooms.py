"""Rooms by WebSocket: people who chat and draw, come back when their connection is lost, and ask for what they missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from http.cookies import SimpleCookie
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from chaos.history import Stored
from chaos.service import ServiceFailedError

from .person import Person
from .workload import Stage

ROOMS = 2
PEOPLE = 3


class Rooms:
    """A few rooms with a few people each."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._people: list[Person] = []
        self._slugs: list[str] = []

    @property
    def objects(self) -> list[str]:
        """The rooms."""
        return list(self._slugs)

    async def prepare(self) -> None:
        """Make the rooms, and give every second person the cookie of a guest: the others are new with each connection."""
        client = self._stage.client()
        for number in range(ROOMS):
            made = await client.surely("POST", "rooms", {"title": f"Chaos {number}"})
            self._slugs.append(made["slug"])
            for index in range(PEOPLE):
                cookie = await _guest_cookie(self._stage.service.base_url, made["slug"]) if index % 2 else ""
                self._people.append(Person(self._stage, made["slug"], f"person {number}.{index}", cookie))
        await client.close()

    def drive(self) -> list[Coroutine[Any, Any, None]]:
        """The people."""
        return [person.live() for person in self._people]

    async def collect(self) -> None:
        """Read every room from its beginning with a new connection; what the people hold they have noted themselves."""
        for slug in self._slugs:
            value = await read_room(self._stage.service.port, slug)
            self._stage.history.note(Stored(slug, "room", self._stage.history.clock(), value))


async def _guest_cookie(base_url: str, slug: str) -> str:
    """What a browser keeps after it has opened the room's page."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=30) as client:
        answer = await client.get(f"/r/{slug}")
    cookies: SimpleCookie = SimpleCookie()
    for value in answer.headers.get_list("set-cookie"):
        cookies.load(value)
    return "; ".join(f"{name}={morsel.value}" for name, morsel in cookies.items() if "guest" in name)


async def read_room(port: int, slug: str) -> dict[str, Any]:
    """Everything in a room: `messages` as [seq, client id], `elements` as [id, version, nonce]."""
    url = f"ws://127.0.0.1:{port}/ws/rooms/{slug}/?name=Reader"
    async with connect(url, proxy=None, open_timeout=45, max_size=None) as socket:
        welcome = await _next(socket, "welcome")
        pages = [welcome["messages"]]
        elements = list(welcome["elements"])
        last = welcome["complete"]
        while not last:
            part = await _next(socket, "part")
            pages.insert(0, part["messages"])
            elements += part["elements"]
            last = part["last"]
            if "next" in part:
                await socket.send(json.dumps({"type": "more", "next": part["next"]}))
        while pages[0]:
            before = min(message["seq"] for page in pages for message in page)
            await socket.send(json.dumps({"type": "history", "before": before}))
            history = await _next(socket, "history")
            if history.get("code") == "rate_limited":
                await asyncio.sleep(0.5)
                continue
            pages.insert(0, history["messages"])
            if not history["more"]:
                break
    messages = sorted([message["seq"], message["id"]] for page in pages for message in page)
    drawn = [[element["id"], element["version"], element["versionNonce"]] for element in elements]
    return {"messages": messages, "elements": drawn}


async def _next(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next frame of a kind, or an error frame."""
    async with asyncio.timeout(30):
        async for text in socket:
            frame: dict[str, Any] = json.loads(text)
            if frame["type"] in (kind, "error"):
                return frame
    raise ServiceFailedError(f"the socket closed before a {kind}")
