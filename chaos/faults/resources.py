"""A worker that may open no more files, or get no more memory."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

from chaos.clients import Answer, Client
from durable.cluster.processes import ProcessIdentity, is_alive

from .fault import Fault

NEW_COUNTERS = 20
SPARE_DESCRIPTORS = 2
SPARE_BYTES = 1024 * 1024
LARGE_CALLS, LARGE_BYTES = 16, 3 * 1024 * 1024


class _Limited(Fault):
    """One worker reaches a limit, and has it lifted later."""

    keeps_sockets = True
    hold, cost = 1.0, 4.0
    limit: int
    victim: ProcessIdentity
    client: Client
    asking: asyncio.Task[list[Answer]]

    def _allow(self, allowed: int) -> None:
        """Set the soft limit of the process."""
        _, hard = resource.prlimit(self.victim.pid, self.limit)
        resource.prlimit(self.victim.pid, self.limit, (allowed, hard))

    def _ask(self, posts: list[tuple[str, Any]]) -> None:
        """Send all of these at once."""
        self.client = self.site.client()

        async def ask() -> list[Answer]:
            return list(await asyncio.gather(*(self.client.ask("POST", path, body) for path, body in posts)))

        self.asking = asyncio.create_task(ask())

    async def heal(self) -> None:
        """Lift the limit: who asked for more than there was has been told so, or is served now."""
        self.figures["survived"] = float(is_alive(self.victim))
        if is_alive(self.victim):
            _, hard = resource.prlimit(self.victim.pid, self.limit)
            resource.prlimit(self.victim.pid, self.limit, (hard, hard))
        answers = await self.asking
        await self.client.close()
        await self.site.service.complete("worker")
        self.figures["refused"] = float(sum(answer.status >= 500 for answer in answers))
        unclear = [answer.problem for answer in answers if answer.status not in (200, 422, 500, 503)]
        if unclear:
            self.broken.append(f"a limit is answered by {sorted(set(unclear))}")


class FewDescriptors(_Limited):
    """No file can be opened."""

    name, about = "few-descriptors", "the limit of descriptors reached by a worker"
    limit = resource.RLIMIT_NOFILE

    async def inject(self) -> None:
        """Leave two descriptors, and ask for new objects."""
        self.victim = await self.site.busy_worker(self.chance)
        self._allow(_highest_descriptor(self.victim.pid) + 1 + SPARE_DESCRIPTORS)
        names = [f"few-{self.chance.getrandbits(32)}" for _ in range(NEW_COUNTERS)]
        self._ask([(f"counters/{name}/increment", {"by": 1}) for name in names])


class LittleMemory(_Limited):
    """No memory can be had."""

    name, about = "little-memory", "the limit of memory reached by a worker"
    limit = resource.RLIMIT_DATA  # also counts what an allocator has reserved before and only now uses

    async def inject(self) -> None:
        """Leave a MiB, and send large calls to its objects."""
        self.victim = await self.site.busy_worker(self.chance)
        self._allow(_memory(self.victim.pid) + SPARE_BYTES)
        names = [f"large-{self.chance.getrandbits(32)}" for _ in range(LARGE_CALLS)]
        large = {"args": ["x" * LARGE_BYTES, 0]}
        self._ask([(f"objects/Bell/{name}/call/wake", large) for name in names])


def _highest_descriptor(pid: int) -> int:
    return max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())


def _memory(pid: int) -> int:
    """Bytes of memory that the process may write to."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData:")) * 1024


RESOURCE_FAULTS: tuple[type[Fault], ...] = (FewDescriptors, LittleMemory)
