"""What stands ahead of Django: the rooms' sockets, the demonstration chat, and the endpoint that makes rooms.

A consumer only decides who may connect and answers frames that are no frames; everything else is the object's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from channels.db import database_sync_to_async
from django.conf import settings
from django.http import parse_cookie

from durable.gateway.auth import require
from durable.gateway.http import HttpConsumer, Request, Response, json_response
from durable.gateway.origins import is_secure, requested_host
from durable.gateway.problems import invalid
from durable.gateway.sockets import ObjectSocketConsumer, SocketRefused, SocketTarget

from . import protocol
from .directory import Directory
from .logic import Pace, clean_name
from .models import create_room
from .objects import DemoChat, Room, parse_demo
from .people import Person, guest_from, new_stray
from .protocol import FrameError, Strikes
from .sessions import Sessions, SessionWatch

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BAD_FRAMES, NOT_FOUND = 4400, 4404
SWALLOW = ""
"""What `screen` answers to drop a frame without a word."""
MAX_DEMO_ROOM_NAME = 200

_ASKING = (protocol.Sync, protocol.More, protocol.History)
"""Frames that are answered by much more than they hold."""

_directory = Directory()
_sessions = Sessions()


async def _nothing() -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": 1006}


class RoomConsumer(ObjectSocketConsumer):
    """A socket of a room: known rooms only, people by session or guest cookie, malformed frames answered here."""

    max_frame_bytes = protocol.MAX_FRAME_BYTES
    frame_rate = (60, 30.0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch = SessionWatch(_nothing, _sessions)
        self._strikes = Strikes()
        self._presence = Pace(burst=20, per_second=20)
        self._asking = Pace(burst=60, per_second=4)

    async def connect(self, scope: Scope) -> SocketTarget:
        """Find the room and the person."""
        slug = scope["url_route"]["kwargs"]["slug"]
        title = await _directory.title(slug)
        if title is None:
            raise SocketRefused(NOT_FOUND, "no such room")
        person = await self._person(scope)
        wanted = _query(scope, "name") if person.guest else ""
        user = {
            "id": person.id,
            "name": clean_name(wanted or person.name, person.id),
            "named": bool(wanted),
            "guest": person.guest,
            "title": title,
        }
        return SocketTarget(stub=Room.namespace.get_by_name(slug), user=user)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, for as long as the session lasts that it was opened by."""
        self._watch = SessionWatch(receive, _sessions)
        await super().__call__(scope, self._watch, send)

    async def _person(self, scope: Scope) -> Person:
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
        cookies = parse_cookie(header.decode("latin-1"))
        session_key = cookies.get(settings.SESSION_COOKIE_NAME)
        if session_key:
            person = await _sessions.person(session_key)
            if person is not None:
                self._watch.watch(session_key, person.id)
                return person
        return guest_from(cookies) or new_stray()

    def screen(self, message: str | bytes) -> str | None:
        """Answer a frame that will have no effect without troubling the room; end a client that does not speak the protocol."""
        try:
            frame = protocol.parse(message)
        except FrameError as error:
            if self._strikes.record(error):
                raise SocketRefused(BAD_FRAMES, "three malformed frames in a row") from None
            return error.render()
        self._strikes.record(None)
        if isinstance(frame, protocol.Presence) and not self._presence.allows(time.monotonic()):
            return SWALLOW
        if isinstance(frame, _ASKING) and not self._asking.allows(time.monotonic()):
            return FrameError("rate_limited", "That is too fast; wait a moment.").render()
        return None


class DemoChatConsumer(ObjectSocketConsumer):
    """A socket of the demonstration chat: any name is a room, anybody may come."""

    max_frame_bytes = 64 * 1024
    frame_rate = (60, 30.0)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._strikes = Strikes()

    async def connect(self, scope: Scope) -> SocketTarget:
        """Any name of up to 200 characters."""
        try:
            name = unquote(scope["url_route"]["kwargs"]["room"], errors="strict")
        except UnicodeDecodeError:
            raise SocketRefused(NOT_FOUND, "no such room") from None
        if not 0 < len(name) <= MAX_DEMO_ROOM_NAME or "\0" in name:
            raise SocketRefused(NOT_FOUND, "no such room")
        return SocketTarget(stub=DemoChat.namespace.get_by_name(name), user={})

    def screen(self, message: str | bytes) -> str | None:
        """Answer what is not a frame of the tutorial."""
        try:
            parse_demo(message)
        except FrameError as error:
            if self._strikes.record(error):
                raise SocketRefused(BAD_FRAMES, "three malformed frames in a row") from None
            return protocol.render("error", message=error.message)
        self._strikes.record(None)
        return None


class NewRoom(msgspec.Struct):
    """The body of `POST /api/v1/rooms`."""

    title: str


class CreateRoomConsumer(HttpConsumer):
    """`POST /api/v1/rooms` makes a room and answers its slug and address."""

    requires = require("rooms")

    async def post(self, request: Request) -> Response:
        """201 with `slug`, `title` and `url`; 422 when the title will not do."""
        body = await request.json(NewRoom)
        try:
            entry = await database_sync_to_async(create_room)(body.title)
        except ValueError as error:
            raise invalid(str(error), "/title") from None
        path = entry.get_absolute_url()
        created = {"slug": entry.slug, "title": entry.title, "url": _absolute(request, path)}
        return json_response(
            created, status=201, headers=[(b"location", path.encode()), (b"cache-control", b"no-store")]
        )


def _query(scope: Scope, name: str) -> str:
    try:
        pairs = parse_qsl(
            scope.get("query_string", b"").decode("latin-1"), errors="replace", max_num_fields=20
        )
    except ValueError:
        return ""
    return next((value.strip() for key, value in reversed(pairs) if key == name), "")


def _absolute(request: Request, path: str) -> str:
    scheme = "https" if is_secure(request.scope, request.headers) else "http"
    return f"{scheme}://{requested_host(request.headers).decode('latin-1')}{path}"
