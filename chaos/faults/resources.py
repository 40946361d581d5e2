"""A worker that may open no more files, or get no more memory."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

from chaos.clients import Answer
from durable.cluster.processes import ProcessIdentity, is_alive

from .fault import Fault

NEW_COUNTERS = 20
SPARE_DESCRIPTORS = 2
SPARE_BYTES = 1024 * 1024
LARGE_CALLS, LARGE_BYTES = 8, 3 * 1024 * 1024


class _Limited(Fault):
    """One worker reaches a limit, and has it lifted later."""

    keeps_sockets = True
    hold, cost = 1.0, 4.0
    limit: int
    victim: ProcessIdentity

    def _allow(self, allowed: int) -> None:
        """Set the soft limit of the process."""
        _, hard = resource.prlimit(self.victim.pid, self.limit)
        resource.prlimit(self.victim.pid, self.limit, (allowed, hard))

    async def heal(self) -> None:
        """Lift the limit."""
        self.figures["survived"] = float(is_alive(self.victim))
        if is_alive(self.victim):
            _, hard = resource.prlimit(self.victim.pid, self.limit)
            resource.prlimit(self.victim.pid, self.limit, (hard, hard))
        await self.site.service.complete("worker")

    def judge(self, answers: list[Answer]) -> None:
        """Who asks for more than there is gets an answer that says so."""
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
        client = self.site.client()
        names = [f"few-{self.chance.getrandbits(32)}" for _ in range(NEW_COUNTERS)]
        asked = [client.ask("POST", f"counters/{name}/increment", {"by": 1}) for name in names]
        self.judge(list(await asyncio.gather(*asked)))
        await client.close()


class LittleMemory(_Limited):
    """No memory can be had."""

    name, about = "little-memory", "the limit of memory reached by a worker"
    limit = resource.RLIMIT_AS

    async def inject(self) -> None:
        """Leave a MiB, and send large calls to its objects."""
        self.victim = await self.site.busy_worker(self.chance)
        self._allow(_address_space(self.victim.pid) + SPARE_BYTES)
        client = self.site.client()
        names = [f"large-{self.chance.getrandbits(32)}" for _ in range(LARGE_CALLS)]
        large = {"args": ["x" * LARGE_BYTES, 0]}
        asked = [client.ask("POST", f"objects/Bell/{name}/call/wake", large) for name in names]
        self.judge(list(await asyncio.gather(*asked)))
        await client.close()


def _highest_descriptor(pid: int) -> int:
    return max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir())


def _address_space(pid: int) -> int:
    """Bytes that the process has mapped."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


RESOURCE_FAULTS: tuple[type[Fault], ...] = (FewDescriptors, LittleMemory)
