"""The worker's end of the links: requests in, answers and effects out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from pathlib import Path

from durable.core import codec
from durable.core.envelope import (
    LINK_VERSION,
    Command,
    Effects,
    Hello,
    LastAutoResponse,
    Message,
    NotOwner,
    Reply,
    Request,
    Target,
)
from durable.errors import UnavailableError, error_to_wire
from durable.runtime.commands import answer_command
from durable.runtime.events import MovedError
from durable.runtime.host import Host

from .link import Link, listen
from .redis import RedisCluster, RedisUnavailableError

log = logging.getLogger(__name__)

MAX_KEPT = 1000  # effects kept for a gateway that is not connected yet
KEPT_SECONDS = 5.0
ASK_SECONDS = 2.0  # how long a gateway may take to answer a question
GATEWAYS_SECONDS = 1.0  # how long the list of gateways is believed


class LinkAnswer:
    """Answers one request on the link it came from."""

    __slots__ = ("_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number

    def reply(self, value: bytes | None) -> None:
        """It succeeded."""
        self._link.send(Reply(self._number, value))

    def fail(self, error: BaseException) -> None:
        """It failed, or must be asked elsewhere."""
        if isinstance(error, MovedError):
            self._link.send(NotOwner(self._number))
        else:
            self._link.send(Reply(self._number, None, error_to_wire(error)))

    def not_owner(self, owner: str | None) -> None:
        """Ask `owner`, if known."""
        self._link.send(NotOwner(self._number, owner))


class Endpoint:
    """Accepts links and knows which gateway is behind which.

    Args:
        worker: this incarnation's id.
        redis: knows which gateways live.
    """

    def __init__(self, worker: str, redis: RedisCluster) -> None:
        self._hello = Hello(LINK_VERSION, worker, "worker")
        self._redis = redis
        self._links: dict[str, Link] = {}
        self._all: set[Link] = set()
        self._kept: dict[str, deque[tuple[float, Effects]]] = {}
        self._gateways: frozenset[str] = frozenset()
        self._gateways_until = 0.0
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[int | None]] = {}
        self._server: asyncio.Server | None = None
        self._address = ""
        self._host: Host | None = None

    async def start(self, address: str, host: Host) -> None:
        """Listen at `address` (a path) for requests to `host`."""
        self._address, self._host = address, host
        _remove(address)
        self._server = await listen(address, self._make_link)
        _make_private(address)

    def _make_link(self) -> Link:
        link = Link(self._hello, received=self._received, opened=self._opened, closed=self._closed)
        self._all.add(link)
        return link

    def _opened(self, link: Link) -> None:
        assert link.peer is not None
        peer = link.peer.peer
        if peer in self._links:
            # It has given that one up and asks again here: what is still on its way there would come after its repeat.
            self._links[peer].abort()
        self._links[peer] = link
        for _, effects in self._kept.pop(peer, ()):
            link.send(effects)

    def _closed(self, link: Link) -> None:
        self._all.discard(link)
        if link.peer is not None and self._links.get(link.peer.peer) is link:
            del self._links[link.peer.peer]

    def _received(self, link: Link, message: Message) -> None:
        host = self._host
        assert link.peer is not None
        assert host is not None
        if isinstance(message, Command):
            answer_command(host, message, LinkAnswer(link, message.number))
        elif isinstance(message, Request):
            host.dispatch(message, link.peer.peer, LinkAnswer(link, message.number))
        elif isinstance(message, Reply):
            asked = self._asked.get(message.number)
            if asked is not None and not asked.done():
                asked.set_result(codec.decode(message.value or b""))
        else:
            log.error("a %s is no request", type(message).__name__)

    # -- the ways to the gateways

    def send(self, gateway: str, message: Effects) -> None:
        """Send effects to a gateway; kept for some seconds when its link is not there (yet)."""
        if self.is_linked(gateway):
            self._links[gateway].send(message)
            return
        now = time.monotonic()
        kept = self._kept.setdefault(gateway, deque(maxlen=MAX_KEPT))
        kept.append((now, message))
        for other, items in list(self._kept.items()):
            while items and now - items[0][0] > KEPT_SECONDS:
                items.popleft()
            if not items:
                del self._kept[other]

    def is_linked(self, gateway: str) -> bool:
        """Whether a gateway has an open link here."""
        link = self._links.get(gateway)
        return link is not None and link.is_open

    async def last_auto_response(self, gateway: str, target: Target, socket: str) -> int | None:
        """When the gateway last answered on a socket in the object's place: ms since the epoch, or None for never.

        Raises UnavailableError.
        """
        link = self._links.get(gateway)
        if link is None or not link.is_open:
            raise UnavailableError("the gateway of this socket is not connected", delivered="no")
        number = next(self._numbers)
        asked: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        link.send(LastAutoResponse(number, target, socket))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await asked
        except TimeoutError:
            raise UnavailableError("the gateway of this socket does not answer", delivered="no") from None
        finally:
            del self._asked[number]

    async def live_gateways(self) -> frozenset[str]:
        """The gateways that live: those with a link here, and those with a session."""
        now = time.monotonic()
        if now > self._gateways_until:
            try:
                self._gateways = frozenset(session.gateway for session in await self._redis.list_gateways())
                self._gateways_until = now + GATEWAYS_SECONDS
            except RedisUnavailableError as error:
                log.warning("the list of gateways cannot be read: %s", error)
        return self._gateways | frozenset(self._links)

    def close(self) -> None:
        """Listen no more, and close all links."""
        if self._server is not None:
            self._server.close()
        for link in list(self._all):
            link.close()
        _remove(self._address)


def _remove(address: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(address).unlink()


def _make_private(address: str) -> None:
    Path(address).chmod(0o600)
