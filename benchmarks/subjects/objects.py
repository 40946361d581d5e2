"""`Subject`: the smallest object that can be measured; its subclasses sleep soon or never. `Relay`: one that asks another."""

import time

from counters.objects import Counter
from durable import AlarmInfo, DurableObject, WebSocket


class Subject(DurableObject):
    """A number, and a socket that nothing is sent to."""

    async def value(self) -> int:
        """Read."""
        return int(self.ctx.storage.get("value", 0))

    async def add(self, amount: int = 1) -> int:
        """Write."""
        value = int(self.ctx.storage.get("value", 0)) + amount
        self.ctx.storage.put("value", value)
        return value

    async def burst(self, values: int, size: int) -> int:
        """Write and read much more than usual, and leave nothing of it; the bytes that were read."""
        storage = self.ctx.storage
        keys = [f"burst-{number}" for number in range(values)]
        storage.put_many({key: bytes(size) for key in keys})
        read = sum(len(value) for value in storage.get_many(keys).values())
        storage.delete_many(keys)
        return read

    async def fill(self, values: int, size: int) -> int:
        """Grow the file for good; how large it is."""
        storage = self.ctx.storage
        begin = int(storage.get("filled", 0))
        storage.put_many({f"fill-{begin + number}": bytes(size) for number in range(values)})
        storage.put("filled", begin + values)
        return (begin + values) * size

    async def compute(self, seconds: float) -> float:
        """Keep a processor for so long; the seconds that it was."""
        begun = time.thread_time()
        while (took := time.thread_time() - begun) < seconds:
            pass
        return took

    async def ring_at(self, at: int) -> None:
        """Set the alarm (ms since the epoch)."""
        self.ctx.storage.set_alarm(at)

    async def alarm(self, info: AlarmInfo) -> None:
        """Note when it has run."""
        self.ctx.storage.put("rung", [*self.ctx.storage.get("rung", []), self.ctx.now()])

    async def rung(self) -> list[int]:
        """When the alarm has run."""
        return list(self.ctx.storage.get("rung", []))

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """Everybody is welcome."""
        self.ctx.accept_web_socket(ws)

    async def echo(self, frame: str) -> None:
        """Send a frame to every socket."""
        self.ctx.broadcast(frame)


class Hasty(Subject):
    """Falls asleep as soon as it can."""

    idle_seconds = 0.5


class Wakeful(Subject):
    """Stays in memory."""

    idle_seconds = 3600.0


class Relay(DurableObject):
    """Keeps nothing, and has a counter count."""

    async def increment(self, name: str) -> int:
        """Ask the counter of that name."""
        return await Counter.namespace.get_by_name(name).increment()
