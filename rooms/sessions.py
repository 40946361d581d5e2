"""Sockets end with the session they were opened by: signing out, a new password or a blocked account closes them.

The session is looked up again every few seconds, whether the client speaks or not; all sockets of a session share the look-up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from channels.db import database_sync_to_async
from django.db import DatabaseError

from durable.gateway.lookups import LookupCache
from durable.gateway.sockets import SocketRefused

from .people import Person, account_from_session

logger = logging.getLogger(__name__)

SIGNED_OUT = 4401
SECONDS = 3.0

Receive = Callable[[], Awaitable[dict[str, Any]]]


async def _load(session_key: str) -> Person | None:
    person: Person | None = await database_sync_to_async(account_from_session)(session_key)
    return person


class Sessions:
    """Who the sessions belong to, as known at most `seconds` ago."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._people: LookupCache[str, Person | None] = LookupCache(_load, seconds=seconds / 2)

    async def person(self, session_key: str) -> Person | None:
        """The account that is signed in by this session, or None."""
        return await self._people.get(session_key)


class SessionWatch:
    """A socket's `receive` that raises `SocketRefused` soon after its session has ended.

    Until `watch` is called it passes everything through: guests have nothing to lose.
    """

    def __init__(self, receive: Receive, sessions: Sessions) -> None:
        self._receive = receive
        self._sessions = sessions
        self._session: tuple[str, str] | None = None
        self._checked = 0.0
        self._next: asyncio.Future[dict[str, Any]] | None = None

    def watch(self, session_key: str, person_id: str) -> None:
        """From now on the session has to belong to this person."""
        self._session = (session_key, person_id)
        self._checked = time.monotonic()

    async def __call__(self) -> dict[str, Any]:
        """The next ASGI message."""
        if self._session is None:
            return await self._receive()
        if self._next is None:
            self._next = asyncio.ensure_future(self._receive())
        try:
            while True:
                left = self._checked + self._sessions.seconds - time.monotonic()
                if left <= 0:
                    await self._check(*self._session)
                    continue
                done, _ = await asyncio.wait({self._next}, timeout=left)
                if done:
                    message, self._next = self._next.result(), None
                    return message
        except BaseException:
            if self._next is not None:
                self._next.cancel()
                self._next = None
            raise

    async def _check(self, session_key: str, person_id: str) -> None:
        self._checked = time.monotonic()
        try:
            person = await self._sessions.person(session_key)
        except DatabaseError as error:  # nobody has signed out because we cannot look
            logger.warning("a session could not be looked up: %s", error)
            return
        if person is None or person.id != person_id:
            raise SocketRefused(SIGNED_OUT, "signed out")
