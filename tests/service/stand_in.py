"""A service of stand-in children, real processes that do what a gateway or a worker owes its supervisor, no more.

    stand_in.py service DATA_DIR GATEWAYS WORKERS     the real supervisor over these children
    stand_in.py worker                                registers a session in Redis, renews it, reports ready
    stand_in.py gateway FD                            answers each connection with its process id

A session lives one second here, so that its end is quick to see. `STAND_IN` changes a worker's behaviour:
`refuse` and `crash` at its start, `stubborn` when asked to stop.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from durable.service.child import Role
from durable.service.discovery import ServiceRecord
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.lifeline import Lifeline
from durable.service.processes import identify_self
from durable.service.supervisor import ServiceOptions, Supervisor

SESSION_MS = 1000
RENEW_SECONDS = 0.1


@dataclass(frozen=True)
class Session:
    worker: str
    pid: int
    pid_started: int
    address: str


class RedisSessions:
    """The sessions of stand-in workers: one key each, with the process in it."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.asyncio.Redis.from_url(url, decode_responses=True)

    async def revoke_worker(self, worker_id: str) -> None:
        if await self.client.delete(f"session:{worker_id}"):
            await self.client.rpush("revoked", worker_id)

    async def session_alive(self, worker_id: str) -> bool:
        return bool(await self.client.exists(f"session:{worker_id}"))

    async def list_workers(self) -> list[Session]:
        sessions = []
        async for key in self.client.scan_iter("session:*"):
            if value := await self.client.get(key):
                pid, started, address = value.split(" ")
                sessions.append(Session(key.removeprefix("session:"), int(pid), int(started), address))
        return sessions

    async def close(self) -> None:
        await self.client.aclose()


async def be_worker() -> None:
    lifeline = Lifeline.inherit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    lifeline.watch(lambda: loop.call_soon_threadsafe(stop.set))
    if os.environ.get("STAND_IN") == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    client: Any = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
    me, worker = identify_self(), uuid.uuid4().hex
    value = f"{me.pid} {me.started} {os.environ['STAND_IN_RUNTIME_DIR']}/{worker}"
    await client.set(f"session:{worker}", value, px=SESSION_MS)
    lifeline.report_ready(worker)
    while not stop.is_set():
        try:
            if not await client.set(f"session:{worker}", value, px=SESSION_MS, xx=True):
                worker = uuid.uuid4().hex  # expired or revoked: a new incarnation
                await client.set(f"session:{worker}", value, px=SESSION_MS)
                lifeline.report_ready(worker)
        except redis.exceptions.ConnectionError:
            pass
        try:
            await asyncio.wait_for(stop.wait(), RENEW_SECONDS)
        except TimeoutError:
            continue


async def be_gateway(descriptor: int) -> None:
    lifeline = Lifeline.inherit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    lifeline.watch(lambda: loop.call_soon_threadsafe(stop.set))
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(os.getpid()).encode())
        writer.close()

    server = await asyncio.start_server(answer, sock=socket.socket(fileno=descriptor))
    lifeline.report_ready()
    await stop.wait()
    server.close()


def be_service(data_dir: Path, gateways: int, workers: int) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    def announce(record: ServiceRecord) -> None:
        print(f"ready on {record.url}", flush=True)

    def command(role: Role, listener: int) -> tuple[str, ...]:
        own = (str(listener),) if role is Role.GATEWAY else ()
        return (sys.executable, __file__, role.value, *own)

    options = ServiceOptions(
        data_dir=data_dir,
        host="127.0.0.1",
        port=int(os.environ.get("STAND_IN_PORT", "0")),
        gateways=gateways,
        workers=workers,
        redis_url=os.environ.get("STAND_IN_REDIS") or None,
        command=command,
    )
    try:
        asyncio.run(Supervisor(options, connect=RedisSessions, announce=announce).run())
    except ServiceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["service", data_dir, gateways, workers]:
            os.environ.setdefault("STAND_IN_RUNTIME_DIR", "/nowhere")
            be_service(Path(data_dir), int(gateways), int(workers))
        case ["worker"]:
            match os.environ.get("STAND_IN"):
                case "refuse":
                    sys.exit(EXIT_REFUSED)
                case "crash":
                    sys.exit(3)
            asyncio.run(be_worker())
        case ["gateway", descriptor]:
            asyncio.run(be_gateway(int(descriptor)))
        case _:
            sys.exit(__doc__)
