"""Brings requests to the one owner of their object, and follows it when it moves.

Each object that this process talks to has a channel: the link to its owner, as last known, and the requests that have
no answer yet, in order. When the owner is lost, all of them are sent to the next one, in the same order and marked as
repeats; an owner that has handled one already answers from its record. So a caller sees one success and never a doubled effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from durable.core import codec
from durable.core.envelope import (
    LINK_VERSION,
    Attach,
    Call,
    CallId,
    Effects,
    Hello,
    LastAutoResponse,
    Message,
    NotOwner,
    Reply,
    Request,
    SocketFrame,
    Target,
)
from durable.errors import DurableError, OverloadedError, UnavailableError, WireError, error_from_wire
from durable.identity import ObjectId

from .channel import Channel, Outcome, Pending
from .commands import Commands
from .directory import Directory
from .link import ForeignLinkError, Link
from .links import Links
from .redis import RedisUnavailableError
from .taskless import CallResult

log = logging.getLogger(__name__)

MAX_CHANNELS = 20_000
FIRST_PAUSE, LONGEST_PAUSE = 0.004, 0.2  # seconds between two looks for an owner


class Router:
    """Routes the requests of one process.

    Args:
        me: this process's id; callers are known to objects by it.
        kind: "gateway", "worker" or "client".
        directory: which workers live.
        park_seconds: how long a request waits while its object has no owner.
        max_parked: how many may wait so.
        effects: receives what objects do to sockets held here.
        last_auto_response: says when this process last answered on a socket, by the ids of its object and its own.
    """

    def __init__(
        self,
        me: str,
        kind: str,
        directory: Directory,
        *,
        park_seconds: float,
        max_parked: int,
        effects: Callable[[Effects], None] | None = None,
        last_auto_response: Callable[[str, str], int | None] = lambda _object, _socket: None,
    ) -> None:
        self.me = me
        self._directory = directory
        self._park_seconds = park_seconds
        self._max_parked = max_parked
        self._effects = effects
        self._last_auto_response = last_auto_response
        self._loop = asyncio.get_running_loop()
        self._links = Links(
            Hello(LINK_VERSION, me, kind), directory, received=self._received, closed=self._link_closed
        )
        self._channels: dict[str, Channel] = {}
        self._waiting: dict[int, tuple[Channel, Pending]] = {}
        self._commands = Commands()
        self._parked = 0
        self._numbers = 0
        self._call_numbers = 0
        self._closing = False

    # -- asking

    async def call(
        self,
        object_id: ObjectId,
        method: str,
        arguments: bytes,
        *,
        call_id: CallId | None = None,
        chain: list[str] | None = None,
        repeat: bool = False,
    ) -> bytes:
        """Call a method; the encoded result. Raises DurableError. A caller that goes away does not stop the call.

        `repeat`: somebody may have made the call of this `call_id` before.
        """
        channel = self.channel(object_id)
        slot = None
        if call_id is None:
            slot = channel.take_slot()
            self._call_numbers += 1
            call_id = CallId(self.me, slot, self._call_numbers)
        answer: CallResult[bytes] = CallResult()
        request = Call(0, channel.target, method, arguments, call_id, chain or [], repeat)

        def done(outcome: Reply | DurableError) -> None:
            # Without an answer the call may still run somewhere: its slot must not get a later number.
            if slot is not None and (isinstance(outcome, Reply) or outcome.delivered == "no"):
                channel.free_slot(slot)
            if isinstance(outcome, DurableError):
                answer.set_exception(outcome)
            elif outcome.error is not None:
                answer.set_exception(_error_of(outcome.error, request))
            else:
                answer.set_result(outcome.value or b"")

        self.post(channel, request, done)
        return await answer

    def wake(self, object_id: ObjectId, owner: str | None = None) -> asyncio.Future[None]:
        """Have the object's owner open it, by telling it which of its sockets are held here.

        Args:
            owner: the worker that is to do it; default: the one that is known here, or found.

        Returns:
            done when the object is open, or cannot be opened.
        """
        channel = self.channel(object_id)
        awake: asyncio.Future[None] = self._loop.create_future()
        if owner is not None and (channel.link is None or channel.link is not self._links.get(owner)):
            self._reroute(channel, owner)
        held = channel.sockets() if channel.sockets is not None else []

        def done(_: Reply | DurableError) -> None:
            if not awake.done():
                awake.set_result(None)

        self.post(channel, Attach(0, channel.target, held), done)
        return awake

    def channel(self, object_id: ObjectId) -> Channel:
        """The channel of an object."""
        text = str(object_id)
        channel = self._channels.get(text)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                self._forget_idle()
            channel = self._channels[text] = Channel(Target(object_id.class_key, text, object_id.name))
        elif object_id.name is not None and channel.target.name is None:
            channel.target = Target(object_id.class_key, text, object_id.name)
        return channel

    def _forget_idle(self) -> None:
        idle = [text for text, channel in self._channels.items() if channel.is_idle]
        for text in idle[: MAX_CHANNELS // 10]:
            del self._channels[text]

    def post(self, channel: Channel, request: Request, done: Outcome) -> None:
        """Send a request to the object's owner; `done` gets its answer, or an error."""
        pending = Pending(request, done)
        link = channel.link or self._first_link(channel)
        channel.asleep = False
        if link is not None and link.is_open and channel.routing is None:
            self._send(channel, pending, link)
            return
        if self._parked >= self._max_parked:
            done(OverloadedError(f"{self._parked} requests already wait for objects that move"))
            return
        self._number(channel, pending)
        self._park(pending)
        self._reroute(channel, None)

    def _first_link(self, channel: Channel) -> Link | None:
        """The open link to where the object should be, if nobody has asked for it from here and none of its sockets are here."""
        if channel.routing is not None or channel.pending or channel.bounces or channel.sockets is not None:
            return None
        session = self._directory.place(channel.target.id, channel.target.key)
        if session is None or session.link != LINK_VERSION:
            return None
        channel.link = self._links.get(session.worker)
        return channel.link

    def _number(self, channel: Channel, pending: Pending) -> None:
        self._numbers += 1
        pending.number = self._numbers
        channel.pending[pending.number] = pending
        self._waiting[pending.number] = (channel, pending)

    def _send(self, channel: Channel, pending: Pending, link: Link) -> None:
        self._number(channel, pending)
        request = pending.request
        request.number = pending.number
        request.repeat = pending.sent
        pending.sent = True
        (link.send_soon if type(request) is SocketFrame else link.send)(request)

    def _park(self, pending: Pending) -> None:
        if pending.parked_at is None:
            pending.parked_at = self._loop.time()
            self._parked += 1

    def _unpark(self, pending: Pending) -> None:
        if pending.parked_at is not None:
            pending.waited += self._loop.time() - pending.parked_at
            pending.parked_at = None
            self._parked -= 1

    # -- finding the owner

    def _reroute(self, channel: Channel, owner: str | None, *, avoid: str | None = None) -> None:
        """The owner is not known (any more): find it, then send all that has no answer."""
        channel.link = None
        for pending in channel.pending.values():
            self._park(pending)
        if channel.routing is None and not self._closing:
            channel.routing = self._loop.create_task(self._route(channel, owner, avoid))
            channel.routing.add_done_callback(_log_failure)

    async def _route(self, channel: Channel, owner: str | None, avoid: str | None) -> None:
        unreachable = set() if avoid is None else {avoid}
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(channel.bounces, 8)) if channel.bounces else 0.0
        if owner is not None and self._links.get(owner) is not None:
            pause = 0.0
        try:
            while True:
                if pause:
                    await self._directory.wait_for_change(pause)
                pause = min(LONGEST_PAUSE, (pause or FIRST_PAUSE) * 2)
                self._give_up_old(channel)
                if not channel.pending:
                    return
                if owner is not None and self._directory.get(owner) is None:
                    await self._refresh_directory()
                session = self._directory.get(owner) if owner is not None else None
                session = session or self._directory.place(
                    channel.target.id, channel.target.key, frozenset(unreachable)
                )
                if session is None:
                    await self._refresh_directory()
                    continue
                try:
                    link = await self._links.to(session)
                except OSError:
                    unreachable.add(session.worker)
                    owner = None
                    continue
                except ForeignLinkError as error:
                    self._give_up(channel, error)
                    return
                self._bind(channel, link)
                return
        finally:
            channel.routing = None
            if channel.pending and channel.link is None and not self._closing:
                self._reroute(channel, None)

    async def _refresh_directory(self) -> None:
        try:
            await self._directory.refresh()
        except RedisUnavailableError as error:
            log.warning("the list of workers cannot be read: %s", error)

    def _bind(self, channel: Channel, link: Link) -> None:
        """This is the way to the owner now: say which sockets are here, then send what has no answer, in order."""
        channel.link = link
        unanswered = list(channel.pending.values())
        for pending in unanswered:
            del self._waiting[pending.number]
            self._unpark(pending)
        channel.pending.clear()
        if channel.sockets is not None and not any(isinstance(p.request, Attach) for p in unanswered):
            self._send(channel, Pending(Attach(0, channel.target, channel.sockets()), _ignore), link)
        for pending in unanswered:
            if isinstance(pending.request, Attach) and channel.sockets is not None:
                pending.request.sockets = channel.sockets()
            self._send(channel, pending, link)

    def _give_up_old(self, channel: Channel) -> None:
        error = UnavailableError("no worker could serve this object in time")
        self._give_up(channel, error, self._park_seconds)

    def _give_up(self, channel: Channel, error: UnavailableError, after: float = 0.0) -> None:
        """Fail what has been parked for longer than `after` seconds, all times together."""
        now = self._loop.time()
        for number, pending in list(channel.pending.items()):
            if pending.parked_at is not None and pending.waited + now - pending.parked_at >= after:
                self._finish(number)
                pending.done(UnavailableError(error.message, delivered="unknown" if pending.sent else "no"))

    # -- answers

    def _received(self, link: Link, message: Message) -> None:
        if isinstance(message, Reply):
            found = self._finish(message.number)
            if found is not None:
                found[0].bounces = 0
                found[1].done(message)
            else:
                self._commands.answered(message)
        elif isinstance(message, NotOwner):
            self._not_owner(link, message)
        elif isinstance(message, Effects) and self._effects is not None:
            channel = self._channels.get(message.target.id)
            if channel is None or message.epoch < channel.epoch:
                return
            channel.epoch = message.epoch
            channel.asleep = False  # who acts is awake; that it falls asleep is an operation of its own
            self._effects(message)
        elif isinstance(message, LastAutoResponse):
            at = self._last_auto_response(message.target.id, message.socket)
            link.send(Reply(message.number, codec.encode(at)))

    def _finish(self, number: int) -> tuple[Channel, Pending] | None:
        found = self._waiting.pop(number, None)
        if found is not None:
            del found[0].pending[number]
            self._unpark(found[1])
        return found

    def _not_owner(self, link: Link, message: NotOwner) -> None:
        self._commands.refused(message.number)
        found = self._waiting.get(message.number)
        if found is None or found[0].link is not link:
            return
        channel = found[0]
        channel.bounces += 1
        refused_by = self._links.worker_of(link)
        self._reroute(channel, message.owner, avoid=refused_by if message.owner is None else None)

    def _link_closed(self, link: Link) -> None:
        self._commands.link_closed(link)
        for channel in list(self._channels.values()):
            if channel.link is link:
                channel.link = None
                channel.bounces += 1  # a worker whose links end again and again is asked more and more slowly
                if channel.sockets is not None and not channel.asleep and not self._closing:
                    # What the owner broadcast last may be lost: let the next owner tell the sockets where it stands.
                    self.post(channel, Attach(0, channel.target, []), _ignore)
                elif channel.pending:
                    self._reroute(channel, None)

    # -- operators

    async def command(self, worker: str, target: Target, verb: str, arguments: bytes = b"") -> Reply:
        """Ask a worker about an object without waking it.

        Raises NotActiveError when that worker has it not active, UnavailableError when the worker cannot answer.
        """
        session = self._directory.get(worker)
        if session is None:
            raise UnavailableError(f"worker {worker} is gone")
        try:
            link = await self._links.to(session)
        except OSError as error:
            raise UnavailableError(f"worker {worker} cannot be reached: {error}") from error
        self._numbers += 1
        try:
            return await self._commands.ask(link, self._numbers, target, verb, arguments, self._park_seconds)
        except TimeoutError:
            raise UnavailableError(f"worker {worker} did not answer in time") from None

    def close(self) -> None:
        """Close all links; what has no answer fails."""
        self._closing = True
        for channel in self._channels.values():
            if channel.routing is not None:
                channel.routing.cancel()
        self._links.close()
        for _, pending in list(self._waiting.values()):
            error = UnavailableError("this process is stopping")
            error.delivered = "unknown" if pending.sent else "no"
            pending.done(error)
        self._waiting.clear()


def _error_of(wire: WireError, request: Request) -> DurableError:
    """What a request failed with. Who refuses a repeat does not know whether an owner before has carried it out."""
    error = error_from_wire(wire)
    if request.repeat and error.delivered == "no":
        error.delivered = "unknown"
    return error


def _ignore(_outcome: Reply | DurableError) -> None:
    """For requests whose answer changes nothing."""


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("routing failed", exc_info=task.exception())
