"""A service of stand-in children, real processes that do what a gateway or a worker owes its supervisor, no more.

    stand_in.py service DATA_DIR GATEWAYS WORKERS     the real supervisor over these children
    stand_in.py worker                                registers a session in Redis, renews it, reports ready
    stand_in.py gateway FD                            answers each connection with its process id

A session lives one second here (or STAND_IN_TTL), so that its end is quick to see. `STAND_IN` changes a worker's
behaviour: `refuse` and `crash` at its start, `mute` renews no session, `stubborn` does not stop when asked to.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from pathlib import Path

from durable.cluster.processes import identify_self
from durable.cluster.redis import RedisCluster, WorkerSession
from durable.errors import UnavailableError
from durable.service.discovery import ServiceRecord
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.launch import Role
from durable.service.lifeline import Lifeline
from durable.service.rundir import runtime_directory
from durable.service.supervisor import ServiceOptions, Supervisor

TTL = float(os.environ.get("STAND_IN_TTL", "1"))
RENEW_SECONDS = 0.1
GRACE = 1.0


async def be_worker() -> None:
    lifeline = Lifeline.inherit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    lifeline.watch(lambda: loop.call_soon_threadsafe(stop.set))
    if os.environ.get("STAND_IN") == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    cluster = RedisCluster(os.environ["REDIS_URL"])
    session = new_session()
    await cluster.register_worker(session, TTL)
    lifeline.report_ready(session.worker)
    while not stop.is_set():
        with contextlib.suppress(UnavailableError):
            if os.environ.get("STAND_IN") != "mute" and not await cluster.renew_worker(session, TTL):
                session = new_session()  # expired or revoked: a new incarnation
                await cluster.register_worker(session, TTL)
                lifeline.report_ready(session.worker)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RENEW_SECONDS)
    await cluster.close()


def new_session() -> WorkerSession:
    me, worker = identify_self(), uuid.uuid4().hex
    address = f"{runtime_directory(Path(os.environ['DATA_DIR']))}/{worker}.sock"
    return WorkerSession(worker, me.pid, me.started, socket.gethostname(), "active", 0, address)


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
        session_grace=GRACE,
    )
    try:
        asyncio.run(Supervisor(options, connect=RedisCluster, announce=announce).run())
    except ServiceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["service", data_dir, gateways, workers]:
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
