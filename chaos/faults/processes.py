"""Processes that are killed, stopped, drained and replaced."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import connect
from websockets.protocol import State

from chaos.clients import Answer
from chaos.service import ServiceFailedError, until
from durable.cluster.processes import ProcessIdentity, identify

from .fault import Fault

PAST_LEASE_SECONDS = 5.5  # the lease of chaos.settings is 4 s
ASLEEP_WITHIN = 15.0
CLOSED_WITHIN = 20.0


class _OneProcess(Fault):
    """Something is done to one process of a role, by chance, and the service replaces it."""

    role = "worker"
    number = signal.SIGKILL

    victim: ProcessIdentity

    async def _choose(self) -> ProcessIdentity:
        """Of the workers the owner of a busy object, so that somebody notices."""
        if self.role == "worker":
            return await self.site.busy_worker(self.chance)
        return self.site.service.any_of(self.role, self.chance)

    async def inject(self) -> None:
        """Send the signal."""
        self.victim = await self._choose()
        self.site.service.kill(self.victim, self.number)

    async def heal(self) -> None:
        """Wait for the replacement."""
        await self.site.service.replaced(self.victim, self.role)


class KillWorker(_OneProcess):
    """A worker dies."""

    name, about = "kill-worker", "kill -9 of a worker"
    fails_nothing = keeps_sockets = True
    pause_within = 1.0


class KillGateway(_OneProcess):
    """A gateway dies with its connections."""

    name, about = "kill-gateway", "kill -9 of a gateway"
    role = "gateway"
    cost = 5.0


class Drain(_OneProcess):
    """A worker is asked to end."""

    name, about = "drain", "SIGTERM of a worker under load"
    number = signal.SIGTERM
    fails_nothing = keeps_sockets = True


class KillGatewayAsleep(Fault):
    """A gateway dies while a room whose sockets it holds sleeps: the room must learn of it."""

    name, about = "kill-gateway-asleep", "kill -9 of a gateway while its rooms sleep"
    cost = 14.0

    async def inject(self) -> None:
        """Fill a room, let it fall asleep, kill a gateway."""
        service = self.site.service
        self.client = self.site.client()
        self.slug = (await self.client.surely("POST", "rooms", {"title": "Asleep"}))["slug"]
        url = f"ws://127.0.0.1:{service.port}/ws/rooms/{self.slug}/"
        self.sockets = [
            await connect(f"{url}?name=Sleeper{n}", proxy=None, open_timeout=30) for n in range(6)
        ]
        await self._shows("asleep", lambda shown: shown["state"] == "asleep", ASLEEP_WITHIN)
        self.victim = service.any_of("gateway", self.chance)
        service.kill(self.victim)

    async def heal(self) -> None:
        """Those of the other gateway stay; the room counts them rightly."""
        await self.site.service.replaced(self.victim, "gateway")
        await asyncio.sleep(0.2)  # the system tells of broken connections by itself
        kept = sum(socket.state is State.OPEN for socket in self.sockets)
        try:
            took = await self._shows(f"{kept} sockets", lambda shown: shown["sockets"] == kept, CLOSED_WITHIN)
            self.figures["closes known after s"] = took
        except ServiceFailedError as error:
            self.broken.append(f"a sleeping room did not learn that its gateway died: {error}")
        for socket in self.sockets:
            await socket.close()
        await self.client.close()

    async def _shows(self, what: str, condition: Callable[[Any], bool], within: float) -> float:
        begun = time.monotonic()
        while not condition(shown := await self.client.surely("GET", f"objects/Room/{self.slug}")):
            if time.monotonic() - begun > within:
                break
            await asyncio.sleep(0.1)
        else:
            return time.monotonic() - begun
        raise ServiceFailedError(f"not within {within:g} s: {what}; it is {json.dumps(shown)[:200]}")


class KillSupervisor(Fault):
    """The supervisor dies, and everything ends; then somebody starts it again."""

    name, about = "kill-supervisor", "kill -9 of the supervisor; started again"
    cost = 10.0

    async def inject(self) -> None:
        """Kill it, and see its children end."""
        begun = time.monotonic()
        await self.site.service.kill_supervisor()
        self.figures["children ended after s"] = time.monotonic() - begun

    async def heal(self) -> None:
        """Start it again."""
        self.figures["ready after s"] = await self.site.service.start()


class KillEverything(Fault):
    """All processes die at once."""

    name, about = "kill-everything", "kill -9 of all processes at once; started again"
    cost = 9.0
    serving_within = 5.0

    async def inject(self) -> None:
        """As a power cut would."""
        await self.site.service.kill_everything()

    async def heal(self) -> None:
        """Start it again, and see every object serve."""
        begun = self.site.history.clock()
        starting = asyncio.create_task(self.site.service.start())
        objects = self.site.stage.objects
        await until(
            lambda: all(self.site.history.last_ok(name) > begun for name in objects), 60.0, "all serve"
        )
        took = self.figures["serving again after s"] = self.site.history.clock() - begun
        await starting
        if took > self.serving_within:
            self.broken.append(
                f"serving again {took:.1f} s after the start, not within {self.serving_within:g} s"
            )


class PauseOwner(_OneProcess):
    """A worker stands still for longer than its lease, then goes on, if it still lives."""

    name, about = "pause-owner", "SIGSTOP of a worker past its lease, then SIGCONT"
    number = signal.SIGSTOP
    hold = PAST_LEASE_SECONDS
    cost = 9.0

    async def heal(self) -> None:
        """Let it go on."""
        self.figures["outlived its lease"] = float(identify(self.victim.pid) == self.victim)
        self.site.service.kill(self.victim, signal.SIGCONT)
        await until(
            lambda: len(self.site.service.processes("worker")) >= self.site.service.workers, 30.0, "workers"
        )


class PauseInTransaction(Fault):
    """A worker stands still in the middle of a transaction, past its lease."""

    name, about = (
        "pause-in-transaction",
        "SIGSTOP of a worker inside a transaction past its lease, then SIGCONT",
    )
    hold = PAST_LEASE_SECONDS
    cost = 9.0

    async def inject(self) -> None:
        """Catch the owner of an object between its write and its commit."""
        self.client = self.site.client()
        self.path = f"objects/Slow/slow-{self.chance.getrandbits(32)}/call"
        await self.client.surely("POST", f"{self.path}/add", {"args": [0]})
        pid = (await self.client.surely("POST", f"{self.path}/pid", {}))["result"]
        self.call = asyncio.create_task(self.client.ask("POST", f"{self.path}/add", {"args": [0.8]}))
        await asyncio.sleep(0.4)  # within the 0.8 s that the transaction takes
        victim = identify(pid)
        if victim is None:
            raise ServiceFailedError("the owner is gone before it could be stopped")
        self.victim = victim
        self.site.service.kill(victim, signal.SIGSTOP)

    async def heal(self) -> None:
        """Let it go on: the call has had its effect once."""
        self.site.service.kill(self.victim, signal.SIGCONT)
        answer: Answer = await self.call
        total = (await self.client.surely("POST", f"{self.path}/total", {}))["result"]
        await self.client.close()
        expected = {2} if answer.effect == "done" else {1, 2}
        if total not in expected or (answer.effect == "done" and answer.body["result"] != 2):
            self.broken.append(
                f"a call in a stopped transaction: {answer.body or answer.problem}, and {total} is stored"
            )
        await until(
            lambda: len(self.site.service.processes("worker")) >= self.site.service.workers, 30.0, "workers"
        )


class _Roll(Fault):
    """All processes of a role are replaced, one after the other."""

    role = "worker"

    async def inject(self) -> None:
        """SIGTERM, and wait for the replacement, one by one."""
        for victim in self.site.service.processes(self.role):
            self.site.service.kill(victim, signal.SIGTERM)
            await self.site.service.replaced(victim, self.role, within=60.0)


class RollWorkers(_Roll):
    """A deployment of new code for objects."""

    name, about = "roll-workers", "rolling restart of all workers"
    cost = 8.0
    fails_nothing = keeps_sockets = True


class RollGateways(_Roll):
    """A deployment of new code for gateways."""

    name, about = "roll-gateways", "rolling restart of all gateways"
    role = "gateway"
    cost = 9.0


PROCESS_FAULTS: tuple[type[Fault], ...] = (
    KillWorker,
    KillGateway,
    KillGatewayAsleep,
    KillSupervisor,
    KillEverything,
    PauseOwner,
    PauseInTransaction,
    Drain,
    RollWorkers,
    RollGateways,
)
