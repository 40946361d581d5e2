"""Keeps the embedded Valkey running while a service lives."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from .backoff import RestartBackoff
from .errors import ServiceError
from .valkey import Valkey

logger = logging.getLogger(__name__)

#: A server that could not be started this often in a row needs an operator.
HOPELESS_STARTS = 3
STOP_PATIENCE = 4.0


class ValkeyKeeper:
    """Starts one Valkey, starts it again when it dies, stops it last.

    Args:
        valkey: the server.
        on_change: called after each start.
    """

    def __init__(self, valkey: Valkey, on_change: Callable[[], None]) -> None:
        self.valkey = valkey
        self._on_change = on_change
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Start the server and return once it answers; at once, without a server, after `stop`."""
        await asyncio.to_thread(self.valkey.prepare)
        if self._stopping.is_set():
            return
        self.valkey.launch()  # here, in the main thread: the server lives as long as the thread that launched it
        self._on_change()
        await asyncio.to_thread(self.valkey.wait_ready)

    async def run(self) -> None:
        """Keep the server running; returns after `stop`, raises `ServiceError` when it cannot be started again."""
        backoff, failures = RestartBackoff(), 0
        while True:
            begun = time.monotonic()
            status = await asyncio.to_thread(self.valkey.wait)
            if self._stopping.is_set():
                return
            delay = backoff.after_exit(lived=time.monotonic() - begun, failed=True)
            logger.error("the embedded Valkey ended (exit %d); starting it again in %.2f s", status, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return
            try:
                await self.start()
                failures = 0
            except ServiceError as error:
                failures += 1
                if failures >= HOPELESS_STARTS:
                    raise
                logger.error("%s", error)

    async def stop(self) -> None:
        """Stop the server, for good."""
        self._stopping.set()
        await asyncio.to_thread(self.valkey.stop, STOP_PATIENCE)
