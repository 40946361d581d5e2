"""A service of stand-in children, real processes that do what a gateway or a worker owes its supervisor, no more.

    stand_in.py service DATA_DIR GATEWAYS WORKERS     the real supervisor over these children
    stand_in.py worker                                registers a session in Redis, renews it, reports ready
    stand_in.py gateway FD                            answers each connection with its process id

A session lives one second here (or STAND_IN_TTL), so that its end is quick to see. `STAND_IN` changes the
behaviour of workers, and of spare ones (STAND_IN_SPARE=1 keeps one): `refuse` and `crash` at the start, `never` becomes ready, `once`
ends soon after, `foreign` speaks another link, `older` knows fewer migrations, `mute` renews no session, `stubborn` does not stop when asked to. A file
`code` in the data directory has the same words, for code that changes while the service runs; STAND_IN_CHECK=1 has that checked,
and `bad` does not pass.
"""

import asyncio
import contextlib
import functools
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
from durable.service import lifeline as lifeline_module
from durable.service.discovery import ServiceRecord
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.launch import Role
from durable.service.lifeline import Lifeline
from durable.service.rundir import runtime_directory
from durable.service.supervisor import ServiceOptions, Supervisor

TTL = float(os.environ.get("STAND_IN_TTL", "1"))
RENEW_SECONDS = 0.1
GRACE = 1.0


def behaviour() -> str:
    """What the code on disk does, as a process reads it when it loads."""
    code = Path(os.environ["DATA_DIR"]) / "code"
    return code.read_text() if code.exists() else os.environ.get("STAND_IN", "")


async def be_worker(lifeline: Lifeline, code: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    lifeline.watch(lambda: loop.call_soon_threadsafe(stop.set))
    if code == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    cluster = RedisCluster(os.environ["REDIS_URL"])
    session = new_session(lifeline.place, code)
    await cluster.register_worker(session, TTL)
    lifeline.report_ready(session.worker, {"Room": 1 if code == "older" else 2})
    if code == "once":
        sys.exit(5)
    while not stop.is_set():
        with contextlib.suppress(UnavailableError):
            if code != "mute" and not await cluster.renew_worker(session, TTL):
                session = new_session(lifeline.place, code)  # expired or revoked: a new incarnation
                await cluster.register_worker(session, TTL)
                lifeline.report_ready(session.worker, {"Room": 1 if code == "older" else 2})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RENEW_SECONDS)
    await cluster.close()


def new_session(place: str, code: str) -> WorkerSession:
    me, worker = identify_self(), uuid.uuid4().hex
    address = f"{runtime_directory(Path(os.environ['DATA_DIR']))}/{worker}.sock"
    return WorkerSession(
        worker, me.pid, me.started, socket.gethostname(), "active", 0, address, {}, code, place=place
    )


def load(lifeline: Lifeline) -> str:
    """Be loaded: what the code does from now on."""
    match code := behaviour():
        case "refuse":
            sys.exit(EXIT_REFUSED)
        case "crash":
            print("Traceback: it is broken", file=sys.stderr)
            sys.exit(3)
        case "never":
            lifeline.watch(lambda: os._exit(1))
            signal.pause()
        case "foreign":
            lifeline_module.ReadyReport = functools.partial(lifeline_module.ReadyReport, link=99)
    return code


def be_spare() -> None:
    lifeline = Lifeline.inherit()
    code = load(lifeline)
    (Path(os.environ["DATA_DIR"]) / f"loaded.{os.getpid()}").touch()
    if lifeline.wait_for_go():
        asyncio.run(be_worker(lifeline, code))


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
        spare=os.environ.get("STAND_IN_SPARE") == "1",
        check=(sys.executable, __file__, "check") if os.environ.get("STAND_IN_CHECK") == "1" else (),
        drain_seconds=1.0,
        start_within=float(os.environ.get("STAND_IN_WITHIN", "60")),
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
            tie = Lifeline.inherit()
            asyncio.run(be_worker(tie, load(tie)))
        case ["standby"]:
            be_spare()
        case ["check"]:
            sys.exit("the check says no" if behaviour() == "bad" else 0)
        case ["gateway", descriptor]:
            asyncio.run(be_gateway(int(descriptor)))
        case _:
            sys.exit(__doc__)
