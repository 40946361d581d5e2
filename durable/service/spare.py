"""One worker process that waits, loaded and ready, until another dies: then takeover does not wait for imports.

It owns nothing and has no session until it is told to go, so it costs memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable

from durable.cluster.processes import ProcessIdentity, send_signal

from .backoff import RestartBackoff
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

    def take(self, place: str) -> Launched | None:
        """Promote the spare: it begins to serve now, as the worker of that name. None when there is none."""
        launched, self._waiting = self._waiting, None
        if launched is None:
            return None
        self._taken.set()
        try:
            launched.send_go(place)
        except OSError:  # it has died, and we have not heard of it yet
            launched.close()
            return None
        return launched

    def retire(self) -> None:
        """Have the spare end, for the code it has loaded is not the newest any more; another is loaded in its place."""
        launched, self._waiting = self._waiting, None
        if launched is not None:
            launched.close()
            if launched.identity is not None:
                send_signal(
                    launched.identity, signal.SIGTERM
                )  # it owns nothing, so it may end wherever it is
            self._taken.set()

    async def run(self) -> None:
        """Keep one until cancelled."""
        backoff = RestartBackoff()
        try:
            while True:
                begun = time.monotonic()
                try:
                    self._waiting = await launch(self.spec, self._life_reader)
                except OSError as error:
                    logger.error("cannot start %s: %s", self.spec.name, error)
                self._on_change()
                failed = not await self._was_taken()
                delay = backoff.after_exit(lived=time.monotonic() - begun, failed=failed)
                await asyncio.sleep(max(_NEXT_AFTER, delay))
        finally:
            await self._end()

    async def _was_taken(self) -> bool:
        """Return when the spare was taken or retired (True), or has ended by itself."""
        launched = self._waiting
        if launched is None:
            return False
        self._taken.clear()
        ended = asyncio.create_task(launched.process.wait())
        taken = asyncio.create_task(self._taken.wait())
        try:
            await asyncio.wait({ended, taken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
            ended.cancel()
        gone = self._waiting is not launched
        if not gone:
            logger.warning("%s ended (exit %s)", self.spec.name, launched.process.returncode)
            self._waiting = None
            launched.close()
        self._on_change()
        return gone

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
