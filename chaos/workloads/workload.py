"""What every workload is given, and what it must be able to do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Protocol

from chaos.clients import Client
from chaos.history import History
from chaos.service import Service


class Stage:
    """What clients share: the service, the history, chance, and the end of the run.

    Attributes:
        over: clients begin nothing new once it is set.
        objects: those that should make progress all the time.
    """

    def __init__(self, service: Service, history: History, seed: int) -> None:
        self.service = service
        self.history = history
        self.over = asyncio.Event()
        self.objects: list[str] = []
        self._seed = seed

    def chance(self, client: str) -> random.Random:
        """The choices of one client, the same in each run of one seed."""
        return random.Random(f"{self._seed} {client}")

    def client(self) -> Client:
        """An HTTP client."""
        return Client(self.service)

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return


class Workload(Protocol):
    """One kind of use."""

    @property
    def objects(self) -> list[str]:
        """The objects that should make progress all the time."""

    async def prepare(self) -> None:
        """Make what the clients need; nothing fails yet."""

    def drive(self) -> list[Coroutine[Any, Any, None]]:
        """The clients. Each returns soon after the run is over."""

    async def collect(self) -> None:
        """Note what is stored, now that nothing fails any more."""
