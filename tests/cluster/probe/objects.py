"""`Probe`: tells which process runs it, counts, and remembers its alarms."""

import asyncio
import ctypes
import hashlib
import os
import sys
import time

from durable import AlarmInfo, DurableObject


class Probe(DurableObject):
    """What the tests ask of an object."""

    async def add(self, amount: int = 1) -> int:
        """Count."""
        total = int(self.ctx.storage.get("total", 0)) + amount
        self.ctx.storage.put("total", total)
        return total

    async def total(self) -> int:
        """The count."""
        return int(self.ctx.storage.get("total", 0))

    async def add_slowly(self, seconds: float) -> int:
        """Count, but take a while between reading and writing."""
        total = int(self.ctx.storage.get("total", 0))
        await asyncio.sleep(seconds)
        self.ctx.storage.put("total", total + 1)
        return total + 1

    async def add_and_linger(self, seconds: float) -> int:
        """Count, and take a while before the transaction ends."""
        total = await self.add()
        await asyncio.sleep(seconds)
        return total

    async def pid(self) -> int:
        """The process that owns this object."""
        return os.getpid()

    async def wake_in(self, ms: int) -> int:
        """Set the alarm; returns when it is due."""
        due = self.ctx.now() + ms
        self.ctx.storage.set_alarm(due)
        return due

    async def alarms(self) -> list[list[int]]:
        """[due, fired] of every alarm so far."""
        return list(self.ctx.storage.get("alarms", []))

    async def alarm(self, info: AlarmInfo) -> None:
        """Remember it."""
        fired = [*self.ctx.storage.get("alarms", []), [info.scheduled_time, self.ctx.now()]]
        self.ctx.storage.put("alarms", fired)


class Villain(DurableObject):
    """What can go wrong in a handler."""

    async def count(self) -> int:
        """Harmless."""
        total = int(self.ctx.storage.get("total", 0)) + 1
        self.ctx.storage.put("total", total)
        return total

    async def pid(self) -> int:
        """The process that owns this object."""
        return os.getpid()

    async def spin(self) -> None:
        """Compute for ever, after a write."""
        self.ctx.storage.put("total", 1000)
        while True:
            pass

    async def spin_on(self, seconds: float) -> str:
        """Compute for a while, whatever is raised."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                while time.monotonic() < until:
                    pass
            except BaseException:
                self.ctx.storage.put("total", 2000)
        return "done"

    async def spin_in_a_task(self) -> None:
        """Compute for ever in a task of the handler's own."""
        self.ctx.storage.put("total", 1000)
        await asyncio.wait_for(self._spin(), 60)

    async def _spin(self) -> None:
        while True:
            pass

    async def store_for_ever(self) -> None:
        """Be in the runtime's code most of the time."""
        while True:
            self.ctx.storage.put("total", 3000)

    async def sleep(self, seconds: float) -> None:
        """Block without computing."""
        time.sleep(seconds)

    async def grind(self) -> None:
        """Compute in C for ever."""
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

    async def hoard(self) -> None:
        """Take memory for ever, in small steps, after a write."""
        self.ctx.storage.put("total", 1000)
        kept = []
        while True:
            kept.append(bytes(100_000).replace(b"\0", b"x"))

    async def hoard_between_waits(self) -> None:
        """Take memory for ever, and let the loop have its turn."""
        self.ctx.storage.put("total", 1000)
        self.kept = []
        while True:
            self.kept += [b"x" * 100_000 for _ in range(20)]
            await asyncio.sleep(0)

    async def hoard_on(self) -> None:
        """Take memory for ever, whatever is raised."""
        kept: list[bytes] = []
        while True:
            try:
                while True:
                    kept.append(bytes(100_000).replace(b"\0", b"x"))
            except BaseException:
                kept.append(b"x")

    async def take(self, size: int) -> int:
        """Take much memory at once."""
        return len(b"x" * size)

    async def crash(self, note: str) -> None:
        """Kill the process, and say so in a file first."""
        with open(note, "a") as file:
            print(os.getpid(), file=file)
        os._exit(9)

    async def stop_the_loop(self) -> None:
        """End the loop that everybody lives on."""
        asyncio.get_running_loop().stop()
        await asyncio.sleep(60)

    async def exit_in_a_task(self) -> None:
        """End the loop from a task."""

        async def leave() -> None:
            sys.exit(3)

        await asyncio.create_task(leave())

    async def hold(self) -> None:
        """Crash where nobody can say in Python what happened."""
        ctypes.string_at(0)

    async def crash_in_a_task(self, note: str) -> None:
        """Kill the process from a task that the handler waits for."""
        await asyncio.gather(self.crash(note), asyncio.sleep(60))

    async def crash_by_alarm(self, note: str) -> None:
        """Kill the process by an alarm."""
        self.ctx.storage.put("note", note)
        self.ctx.storage.set_alarm(self.ctx.now() + 50)

    async def alarm(self, info: AlarmInfo) -> None:
        """Kill the process."""
        await self.crash(self.ctx.storage.get("note"))
