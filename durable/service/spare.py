"""One worker process that waits, loaded and ready, until another dies: then takeover does not wait for imports.

It owns nothing and has no session until it is told to go, so it costs memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

from durable.cluster.processes import ProcessIdentity, send_signal

from .launch import ChildSpec, Launched, launch

logger = logging.getLogger(__name__)

#: Seconds after one was taken until the next is started: what has just died has the processors first.
_NEXT_AFTER = 2.0


class Spare:
    """Keeps one spare worker.

    Args:
        spec: how to start it.
        life_reader: reading end of the pipe whose writing end only the supervisor has.
        on_change: called when there is another one, or none.
    """

    def __init__(self, spec: ChildSpec, life_reader: int, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self._life_reader = life_reader
        self._on_change = on_change
        self._waiting: Launched | None = None
        self._taken = asyncio.Event()

    @property
    def identity(self) -> ProcessIdentity | None:
        """The process that waits now, if there is one."""
        return None if self._waiting is None else self._waiting.identity

    def take(self) -> Launched | None:
        """Promote the spare: it begins to serve now. None when there is none."""
        launched, self._waiting = self._waiting, None
        if launched is None:
            return None
        self._taken.set()
        try:
            launched.send_go()
        except OSError:  # it has died, and we have not heard of it yet
            launched.close()
            return None
        return launched

    async def run(self) -> None:
        """Keep one until cancelled."""
        try:
            while True:
                try:
                    self._waiting = await launch(self.spec, self._life_reader)
                except OSError as error:
                    logger.error("cannot start %s: %s", self.spec.name, error)
                self._on_change()
                await self._until_gone()
                await asyncio.sleep(_NEXT_AFTER)
        finally:
            await self._end()

    async def _until_gone(self) -> None:
        """Return when the spare was taken, or has ended by itself."""
        launched = self._waiting
        if launched is None:
            return
        self._taken.clear()
        ended = asyncio.create_task(launched.process.wait())
        taken = asyncio.create_task(self._taken.wait())
        try:
            await asyncio.wait({ended, taken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
            ended.cancel()
        if self._waiting is launched:
            logger.warning("%s ended (exit %s)", self.spec.name, launched.process.returncode)
            self._waiting = None
            launched.close()
        self._on_change()

    async def _end(self) -> None:
        launched, self._waiting = self._waiting, None
        if launched is None:
            return
        launched.close()  # it reads the end of its pipe, and ends
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await launched.process.wait()
                return
        if launched.identity is not None:
            send_signal(launched.identity, signal.SIGKILL)
