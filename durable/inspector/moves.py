"""Where objects live, changed by an operator: one object goes to a worker, or all of a worker's objects go elsewhere."""

from __future__ import annotations

import asyncio
import signal
import socket

from durable.client import ClusterClient
from durable.cluster.owners import REST_SECONDS
from durable.cluster.processes import ProcessIdentity, send_signal
from durable.cluster.redis import Notice, WorkerSession
from durable.errors import DurableError, UnavailableError
from durable.identity import ObjectId

PAUSE = 0.05  # seconds between two looks


class WorkerNotFoundError(DurableError):
    """No live worker is meant, or several are; the message lists them."""

    code = "worker_not_found"
    delivered = "no"


class NotDrainableError(DurableError):
    """The worker cannot be drained from here; the message says what to do instead."""

    code = "not_drainable"
    delivered = "no"


async def find_worker(client: ClusterClient, text: str) -> WorkerSession:
    """The live worker whose id begins with `text`, or whose process id it is. Raises WorkerNotFoundError."""
    await client.directory.refresh()
    sessions = await client.redis.list_workers()
    found = [session for session in sessions if str(session.pid) == text]
    found = found or [session for session in sessions if text and session.worker.startswith(text)]
    if len(found) != 1:
        live = (
            ", ".join(f"{session.worker} (pid {session.pid} on {session.host})" for session in sessions)
            or "none"
        )
        raise WorkerNotFoundError(f"{len(found) or 'no'} workers match {text!r}; there are: {live}")
    return found[0]


async def move(client: ClusterClient, object_id: ObjectId, to: WorkerSession, *, active: bool) -> bool:
    """Make `to` the owner; False when it is already. An active object finishes its running event, and wakes there.

    The new owner is entered first, so that whoever asks meanwhile is sent there and waits; the old one hears of it and lets go.
    """
    if object_id.class_key not in to.classes:
        raise UnavailableError(f"worker {to.worker} has no code for {object_id.class_key}", delivered="no")
    found = await client.redis.owner(object_id)
    if found is not None and found[0] == to.worker:
        return False
    owner, epoch = found or ("", 0)
    now, epoch = await client.redis.claim(object_id, to.worker, epoch, owner)
    if now != to.worker:
        raise UnavailableError(f"worker {now} has just taken the object; try again")
    await client.redis.tell(Notice("taken", to.worker, str(object_id), epoch))
    if active:
        await client.router.wake(object_id, to.worker)  # the one before may still have it open
    else:
        await client.redis.rest(object_id, to.worker, REST_SECONDS)
    return True


async def drain(client: ClusterClient, worker: WorkerSession, within: float) -> None:
    """Have a worker give all its objects away and end; returns when it has. A supervisor starts another one.

    Raises NotDrainableError for one that is not a process of its own on this host, UnavailableError when it takes too long.
    """
    if worker.host != socket.gethostname():
        raise NotDrainableError(f"this worker runs on {worker.host}: drain it there")
    gateways = await client.redis.list_gateways()
    if any(gateway.pid == worker.pid and gateway.host == worker.host for gateway in gateways):
        raise NotDrainableError("this worker lives in the process that also serves HTTP: stop that instead")
    send_signal(ProcessIdentity(worker.pid, worker.pid_started), signal.SIGTERM)
    try:
        async with asyncio.timeout(within):
            while await client.redis.session_alive(worker.worker):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(PAUSE)
    except TimeoutError:
        raise UnavailableError(f"worker {worker.worker} has not ended within {within:g} s") from None
