"""`python -m chaos.deaf`: a hundred clients that never read, for minutes. Does the gateways' memory stay flat, do others notice?

Ten people talk in a room, first alone, then with the deaf clients among them. Each message is timed from its sender to each of the
others. Memory is what the gateways keep resident. Who never reads does not learn that it was cut off; with `--stay` each leaves and comes
back after so many seconds, which costs a welcome each time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .clients import Client
from .faults.visitors import HANDSHAKE, SMALL_BUFFER
from .service import Service

TALKERS = 10
EVERY_SECONDS = 0.5  # between two messages of one talker
PADDING = "x" * 2000  # makes a message large enough to fill a deaf client's buffers
WARM_UP_SECONDS = 5.0
LOOK_SECONDS = 1.0
NEVER = 1e6  # seconds
MOST_SLOWER = 2.0  # p99 with the deaf clients, by that without
MOST_GROWTH = 1.1  # memory at the end, by that after a tenth of the time


@dataclass(slots=True)
class Phase:
    """What was seen in one phase: seconds from sender to receiver, and MiB of all gateways by time."""

    name: str
    latencies: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def p99(self) -> float:
        """In ms."""
        return statistics.quantiles(self.latencies, n=100)[98] * 1000

    def share(self, begin: float, end: float) -> float:
        """MiB in a part of the time, in the middle."""
        return statistics.median(self.memory[int(len(self.memory) * begin) : int(len(self.memory) * end)])

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return {
            "phase": self.name,
            "deliveries": len(self.latencies),
            "p50_ms": round(statistics.median(self.latencies) * 1000, 2),
            "p99_ms": round(self.p99(), 2),
            "memory_mib": [round(mib, 1) for mib in self.memory],
        }


class Talk:
    """The people who talk in one room."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.phase = Phase("warm-up")
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Within this block they talk."""
        async with contextlib.AsyncExitStack() as stack:
            for number in range(TALKERS):
                ws = await stack.enter_async_context(
                    connect(f"{self._address}?name=T{number}", max_size=None, compression=None)
                )
                stack.callback(ws.transport.abort)  # a goodbye would wait for what nobody reads any more
                self._tasks += [asyncio.create_task(self._say(ws)), asyncio.create_task(self._hear(ws))]
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _say(self, ws: ClientConnection) -> None:
        for number in range(1_000_000):
            sent = f"{time.monotonic()!r} {PADDING}"
            await ws.send(json.dumps({"type": "chat", "id": f"{id(ws)}-{number}", "text": sent}))
            await asyncio.sleep(EVERY_SECONDS)

    async def _hear(self, ws: ClientConnection) -> None:
        async for frame in ws:
            told = json.loads(frame)
            if told.get("type") == "chat":
                self.phase.latencies.append(time.monotonic() - float(told["text"].split()[0]))


async def be_deaf(port: int, path: str, first: float, stay: float) -> None:
    """Enter the room and never read; come back after `first` seconds, and then every `stay` seconds.

    Being cut off cannot be seen without reading: what the system still holds for this client keeps the connection open.
    """
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.closing(socket.socket()) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            peer.setblocking(False)
            await loop.sock_connect(peer, ("127.0.0.1", port))
            await loop.sock_sendall(peer, HANDSHAKE.format(path=path).encode())
            await asyncio.sleep(first)
        first = stay


def _stays(number: int, options: argparse.Namespace) -> tuple[float, float]:
    """How long a client stays at first, and then. All come together, and leave each for itself."""
    if options.stay is None:
        return NEVER, NEVER
    return WARM_UP_SECONDS + options.stay * (number + 1) / options.clients, options.stay


async def watch_memory(service: Service, talk: Talk) -> None:
    """Note what the gateways keep in memory, every second."""
    while True:
        resident = sum(_resident(one.pid) for one in service.processes("gateway"))
        talk.phase.memory.append(resident / 1024)
        await asyncio.sleep(LOOK_SECONDS)


def _resident(pid: int) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def measure(options: argparse.Namespace, data_dir: Path) -> list[Phase]:
    """Talk alone, then among deaf clients."""
    service = Service(data_dir, gateways=2, workers=2)
    try:
        await service.prepare()
        await service.start()
        client = Client(service)
        slug = (await client.surely("POST", "rooms", {"title": "Deaf"}))["slug"]
        await client.close()
        path = f"/ws/rooms/{slug}/"
        talk = Talk(f"ws://127.0.0.1:{service.port}{path}")
        phases = [Phase("alone"), Phase(f"with {options.clients} deaf clients")]
        async with talk.going_on():
            await asyncio.sleep(WARM_UP_SECONDS)
            watching = asyncio.create_task(watch_memory(service, talk))
            talk.phase = phases[0]
            await asyncio.sleep(min(60.0, options.minutes * 60))
            deaf = [
                asyncio.create_task(be_deaf(service.port, f"{path}?name=D{number}", *_stays(number, options)))
                for number in range(options.clients)
            ]
            talk.phase = Phase("arrival")
            await asyncio.sleep(WARM_UP_SECONDS)
            talk.phase = phases[1]
            await asyncio.sleep(options.minutes * 60)
            for task in (watching, *deaf):
                task.cancel()
            await asyncio.gather(watching, *deaf, return_exceptions=True)
        await service.stop()
        return phases
    finally:
        await service.end()


def main() -> int:
    """Measure, print and judge; 1 when others noticed, or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m chaos.deaf", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="with the deaf clients (default: 10)")
    parser.add_argument("--clients", type=int, default=100, help="how many are deaf (default: 100)")
    parser.add_argument(
        "--stay",
        type=float,
        help="seconds after which a deaf client leaves and comes back (default: it stays)",
    )
    parser.add_argument("--results", type=Path, help="a file to keep the figures in, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deaf-") as folder, contextlib.suppress(ConnectionClosed):
        phases = asyncio.run(measure(options, Path(folder)))
    for phase in phases:
        print(
            f"{phase.name:24} {len(phase.latencies):8,} deliveries, p99 {phase.p99():7.1f} ms; gateways {phase.share(0, 0.1):6.1f} MiB "
            f"at first, {phase.share(0.9, 1):6.1f} at the end, {max(phase.memory):6.1f} at most"
        )
    if options.results is not None:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps([phase.as_json() for phase in phases], indent=1))
    alone, among = phases
    slower = among.p99() / alone.p99()
    growth = among.share(0.9, 1) / among.share(0.1, 0.2)
    print(
        f"p99 {slower:.2f} times (at most {MOST_SLOWER:g}); memory {growth:.2f} times (at most {MOST_GROWTH:g})"
    )
    return 0 if slower <= MOST_SLOWER and growth <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
