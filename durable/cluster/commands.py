"""An operator's questions to workers that have no answer yet: each ends with its answer, its time, or its link."""

from __future__ import annotations

import asyncio

from durable.core.envelope import Command, Reply, Target
from durable.errors import UnavailableError

from .link import Link


class NotActiveError(UnavailableError):
    """The worker that was asked about an object has no live instance of it."""


class Commands:
    """The questions of one process."""

    def __init__(self) -> None:
        self._asked: dict[int, tuple[Link, asyncio.Future[Reply]]] = {}

    async def ask(
        self, link: Link, number: int, target: Target, verb: str, arguments: bytes, within: float
    ) -> Reply:
        """Ask over a link; raises NotActiveError, UnavailableError, TimeoutError after `within` seconds."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._asked[number] = (link, answer)
        link.send(Command(number, target, verb, arguments))
        try:
            async with asyncio.timeout(within):
                return await answer
        finally:
            self._asked.pop(number, None)

    def answered(self, reply: Reply) -> None:
        """A reply has come, perhaps to one of these."""
        _, answer = self._asked.pop(reply.number, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def refused(self, number: int) -> None:
        """A worker has no live instance of what it was asked about, perhaps by one of these."""
        _, answer = self._asked.pop(number, (None, None))
        if answer is not None and not answer.done():
            answer.set_exception(NotActiveError("the object is not active there", delivered="no"))

    def link_closed(self, link: Link) -> None:
        """What was asked over this link gets no answer any more."""
        for on, answer in self._asked.values():
            if on is link and not answer.done():
                answer.set_exception(UnavailableError("the worker ended before it answered"))
