"""The whole service on one host: Redis, gateways and workers, started in order, kept, and stopped in order.

Whatever happens to this process, nothing it started stays: children watch a pipe that only it holds, and the
embedded Valkey is tied to it by the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from durable.cluster.processes import ProcessIdentity, identify_self
from durable.errors import UnavailableError

from .child import Child
from .discovery import ChildRecord, ServiceRecord, remove_record, write_record
from .errors import ServiceError
from .keeper import STOP_PATIENCE, ValkeyKeeper
from .launch import ChildSpec, Launched, Role
from .leftovers import end_leftovers
from .listener import open_listener
from .lock import ServiceLock
from .rundir import runtime_directory
from .spare import Spare
from .valkey import Valkey
from .warden import GRACE_SECONDS, Sessions, Warden, revoke_leftovers

logger = logging.getLogger(__name__)

#: Seconds from the request to stop until everything has ended, one way or the other.
STOP_WITHIN = 30.0
_GATEWAY_SHARE = 10.0
_SETTLE_SHARE = 1.0


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What to run.

    ``command`` gives the command line of a child from its role and the descriptor of the listening socket;
    ``spare``: keep one loaded worker waiting for another to die; ``session_grace`` is how many seconds a worker may run without a session (see `Warden`).
    """

    data_dir: Path
    host: str
    port: int
    gateways: int
    workers: int
    redis_url: str | None
    command: Callable[[Role, int], tuple[str, ...]]
    spare: bool = False
    session_grace: float = GRACE_SECONDS


class Supervisor:
    """Runs one service: `run` returns when it has been stopped.

    Args:
        options: what to run.
        connect: opens the sessions kept in the Redis of an address.
        announce: called once with the service's record, when everything is ready.
    """

    def __init__(
        self,
        options: ServiceOptions,
        *,
        connect: Callable[[str], Sessions],
        announce: Callable[[ServiceRecord], None],
    ) -> None:
        self.options = options
        self._connect = connect
        self._announce = announce
        self._children: list[Child] = []
        self._tasks: dict[Child, asyncio.Task[None]] = {}
        self._warden: Warden | None = None
        self._record: ServiceRecord | None = None
        self._valkey: Valkey | None = None
        self._spare: Spare | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> None:
        """Start everything, keep it, and stop it at SIGTERM or Ctrl-C; raises `ServiceError` when it cannot go on."""
        options = self.options
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as held:
            held.enter_context(ServiceLock(options.data_dir))
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._on_signal)
                held.callback(loop.remove_signal_handler, number)
            runtime_dir = runtime_directory(options.data_dir)
            await asyncio.to_thread(end_leftovers, options.data_dir, runtime_dir)
            listener = held.enter_context(open_listener(options.host, options.port))
            async with self._redis(runtime_dir) as redis_url:
                self._record = self._first_record(listener, redis_url, runtime_dir)
                self._write_record()
                held.callback(remove_record, options.data_dir)
                await self._serve(listener, redis_url, runtime_dir)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    # --- Before the children

    @contextlib.asynccontextmanager
    async def _redis(self, runtime_dir: Path) -> AsyncIterator[str]:
        """The address of Redis: the configured one, or an embedded Valkey that is kept until the block ends."""
        if self.options.redis_url is not None:
            yield self.options.redis_url
            return
        with contextlib.closing(Valkey(self.options.data_dir, runtime_dir)) as valkey:
            self._valkey = valkey
            keeper = ValkeyKeeper(valkey, self._write_record)
            await keeper.start()
            keeping = asyncio.create_task(keeper.run(), name="valkey")
            keeping.add_done_callback(lambda _: self._stop.set())
            try:
                yield valkey.url
            finally:
                await keeper.stop()
                await keeping  # why it could not go on comes out here

    def _first_record(self, listener: socket.socket, redis_url: str, runtime_dir: Path) -> ServiceRecord:
        me = identify_self()
        return ServiceRecord(
            pid=me.pid,
            pid_started=me.started,
            redis_url=redis_url,
            runtime_dir=str(runtime_dir),
            host=self.options.host,
            port=listener.getsockname()[1],
            started=time.time_ns() // 1_000_000,
        )

    # --- The children

    async def _serve(self, listener: socket.socket, redis_url: str, runtime_dir: Path) -> None:
        sessions = self._connect(redis_url)
        life_reader, life_writer = os.pipe()
        self._warden = Warden(sessions, grace=self.options.session_grace)
        try:
            try:
                await revoke_leftovers(sessions, runtime_dir)
            except UnavailableError as error:
                raise ServiceError(str(error)) from None
            self._children = [self._child(spec, life_reader) for spec in self._specs(listener, redis_url)]
            self._tasks = {
                child: asyncio.create_task(child.run(), name=child.spec.name) for child in self._children
            }
            watching = asyncio.create_task(self._warden.watch(self._children), name="warden")
            spare = ChildSpec(
                "spare worker",
                Role.SPARE,
                self.options.command(Role.SPARE, listener.fileno()),
                {"REDIS_URL": redis_url},
            )
            self._spare = Spare(spec=spare, life_reader=life_reader, on_change=self._write_record)
            announcing = asyncio.create_task(self._announce_when_ready(), name="announce")
            try:
                await self._until_stop()
            finally:
                listener.close()  # from here on a new connection is refused, not left waiting
                announcing.cancel()
                watching.cancel()
                await asyncio.gather(announcing, watching, return_exceptions=True)
                await self._stop_children()
                await self._warden.settle(_SETTLE_SHARE)
        finally:
            os.close(life_writer)
            os.close(life_reader)
            await sessions.close()

    def _specs(self, listener: socket.socket, redis_url: str) -> list[ChildSpec]:
        options, environment = self.options, {"REDIS_URL": redis_url}
        descriptor = listener.fileno()
        workers = [
            ChildSpec(f"worker {n}", Role.WORKER, options.command(Role.WORKER, descriptor), environment)
            for n in range(1, options.workers + 1)
        ]
        gateways = [
            ChildSpec(
                f"gateway {n}",
                Role.GATEWAY,
                options.command(Role.GATEWAY, descriptor),
                environment,
                (descriptor,),
            )
            for n in range(1, options.gateways + 1)
        ]
        return [*workers, *gateways]

    def _child(self, spec: ChildSpec, life_reader: int) -> Child:
        take_spare = self._take_spare if spec.role is Role.WORKER else lambda: None
        return Child(
            spec,
            life_reader=life_reader,
            on_change=self._on_change,
            on_exit=self._on_exit,
            take_spare=take_spare,
        )

    def _take_spare(self) -> Launched | None:
        return self._spare.take() if self._spare is not None else None

    def _on_change(self, _: Child) -> None:
        self._write_record()

    def _on_exit(self, process: ProcessIdentity, session: str | None) -> None:
        if self._warden is not None:
            self._warden.process_ended(process, session)

    async def _announce_when_ready(self) -> None:
        for child in self._children:
            await child.first_ready.wait()
        if self._record is not None:
            self._write_record(ready=True)
            self._announce(self._record)
        if self._spare is not None and self.options.spare:
            await self._spare.run()

    async def _until_stop(self) -> None:
        """Return when asked to stop; raise what made a child give up."""
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait(
                {stopping, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopping}:
                task.result()
        finally:
            stopping.cancel()

    async def _stop_children(self) -> None:
        """Gateways first, for they still need the workers to answer; then the workers."""
        if self._tasks:
            logger.info("stopping")
        deadline = time.monotonic() + STOP_WITHIN - STOP_PATIENCE - _SETTLE_SHARE
        await self._stop_role(Role.GATEWAY, _GATEWAY_SHARE)
        await self._stop_role(Role.WORKER, deadline - time.monotonic())

    async def _stop_role(self, role: Role, patience: float) -> None:
        running = {child: task for child, task in self._tasks.items() if child.spec.role is role}
        for child in running:
            child.request_stop()
        if not running:
            return
        ended = asyncio.ensure_future(asyncio.wait(running.values()))
        forced = asyncio.create_task(self._force.wait())
        await asyncio.wait({ended, forced}, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        for child, task in running.items():
            if not task.done():
                logger.warning("%s has not ended in time: killing it", child.spec.name)
                child.kill()
        await ended
        for task in running.values():
            task.exception()  # the first one was raised already, the others are not news

    # --- What others find

    def _write_record(self, *, ready: bool | None = None) -> None:
        if self._record is None:
            return
        running = [(child.spec.name, child.identity) for child in self._children]
        if self._spare is not None:
            running.append((self._spare.spec.name, self._spare.identity))
        if self._valkey is not None:
            running.append(("valkey", self._valkey.identity))
        self._record = msgspec.structs.replace(
            self._record,
            ready=self._record.ready if ready is None else ready,
            children=tuple(
                ChildRecord(name, identity.pid, identity.started)
                for name, identity in running
                if identity is not None
            ),
        )
        try:
            write_record(self.options.data_dir, self._record)
        except OSError as error:  # a full disk, or a directory that somebody removed: the service goes on, and can be stopped
            logger.error("the service cannot be described in %s: %s", self.options.data_dir, error)
