"""The links of one process to the workers: one each, made when it is first wanted, or as soon as the worker comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable.core.envelope import LINK_VERSION, Hello, Message

from .directory import Directory
from .link import ForeignLinkError, Link, connect
from .redis import WorkerSession


class Links:
    """All links of one router.

    Args:
        hello: what to say first.
        directory: which workers live.
        received: called with a link and each message.
        closed: called when a link has ended, and is not listed any more.
    """

    def __init__(
        self,
        hello: Hello,
        directory: Directory,
        *,
        received: Callable[[Link, Message], None],
        closed: Callable[[Link], None],
    ) -> None:
        self._hello = hello
        self._directory = directory
        self._received = received
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._links: dict[str, Link] = {}
        self._connecting: dict[str, asyncio.Task[Link]] = {}
        self._closing = False
        directory.watch(self._workers_changed)

    def get(self, worker: str) -> Link | None:
        """The link to a worker, if there is one."""
        return self._links.get(worker)

    def worker_of(self, link: Link) -> str | None:
        """The worker at the other end."""
        return next((worker for worker, known in self._links.items() if known is link), None)

    async def to(self, session: WorkerSession) -> Link:
        """An open link to a worker; raises OSError, ForeignLinkError."""
        if session.link != LINK_VERSION:
            raise ForeignLinkError(session.worker, session.link)
        link = self._links.get(session.worker)
        if link is not None and link.is_open:
            return link
        connecting = self._connecting.get(session.worker)
        if connecting is None:
            connecting = self._loop.create_task(self._connect(session))
            self._connecting[session.worker] = connecting
            connecting.add_done_callback(lambda _: self._connecting.pop(session.worker, None))
        link = await asyncio.shield(connecting)
        if not link.is_open:  # ended before we came to use it: who closes links did not know us yet
            raise ConnectionResetError("the link ended as it was made")
        return link

    async def _connect(self, session: WorkerSession) -> Link:
        def make() -> Link:
            return Link(self._hello, received=self._received, opened=lambda _: None, closed=self._ended)

        link = await connect(session.address, make)
        self._links[session.worker] = link
        return link

    def _workers_changed(self) -> None:
        """Connect to new workers at once: they may have something to say to the sockets held here."""
        for worker, session in self._directory.live.items():
            link = self._links.get(worker)
            if (link is None or not link.is_open) and worker not in self._connecting and not self._closing:
                task = self._loop.create_task(self.to(session))
                task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _ended(self, link: Link) -> None:
        worker = self.worker_of(link)
        if worker is not None:
            del self._links[worker]
        self._closed(link)

    def close(self) -> None:
        """End all links, and make no more by itself."""
        self._closing = True
        for link in list(self._links.values()):
            link.close()
