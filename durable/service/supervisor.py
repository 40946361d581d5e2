"""The whole service on one host: Redis, gateways and workers, started in order, kept, renewed, and stopped in order.

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

from .child import START_WITHIN
from .children import Children
from .control import ControlServer
from .discovery import ChildRecord, ServiceRecord, remove_record, write_record
from .errors import ServiceError
from .keeper import STOP_PATIENCE, ValkeyKeeper
from .launch import ChildSpec, Role
from .leftovers import end_leftovers
from .listener import open_listener
from .lock import ServiceLock
from .rollout import Rollout, Rollouts
from .rundir import runtime_directory
from .spare import Spare
from .terminal import has_terminal
from .valkey import Valkey
from .warden import GRACE_SECONDS, Sessions, Warden, revoke_leftovers

logger = logging.getLogger(__name__)

#: Seconds from the request to stop until everything has ended, one way or the other.
STOP_WITHIN = 30.0
_GATEWAY_SHARE = 10.0
_SETTLE_SHARE = 1.0
#: Seconds that a process may take to end after its `drain_seconds`.
_END_SHARE = 10.0


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What to run.

    ``command`` gives the command line of a child from its role and the descriptor of the listening socket;
    ``spare``: keep one loaded worker waiting for another to die; ``session_grace`` is how many seconds a worker may run without a session (see `Warden`).
    ``check``: a command that fails when the code on disk cannot work; ``drain_seconds``: how long a worker lets running
    events finish; ``start_within``: how long a process may take to become ready.
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
    check: tuple[str, ...] = ()
    drain_seconds: float = 30.0
    start_within: float = START_WITHIN


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
        self._children: Children | None = None
        self._spare: Spare | None = None
        self._rollouts: Rollouts | None = None
        self._unasked: set[asyncio.Task[None]] = set()
        self._warden: Warden | None = None
        self._record: ServiceRecord | None = None
        self._valkey: Valkey | None = None
        self._had_terminal = has_terminal()
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
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
            held.callback(loop.remove_signal_handler, signal.SIGHUP)
            runtime_dir = runtime_directory(options.data_dir)
            await asyncio.to_thread(end_leftovers, options.data_dir, runtime_dir)
            listener = held.enter_context(open_listener(options.host, options.port))
            async with self._redis(runtime_dir) as redis_url:
                if self._stop.is_set():
                    return
                self._record = self._first_record(listener, redis_url, runtime_dir)
                self._write_record()
                held.callback(remove_record, options.data_dir)
                await self._serve(listener, redis_url, runtime_dir)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def _on_hangup(self) -> None:
        if self._had_terminal and not has_terminal():
            logger.info("the terminal is gone")
            self._on_signal()
        elif self._rollouts is not None:  # until then nothing has been loaded
            task = asyncio.create_task(self._rollouts.run_unasked(), name="roll-out")
            self._unasked.add(task)
            task.add_done_callback(self._unasked.discard)

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
            await self._start(keeper)
            keeping = asyncio.create_task(keeper.run(), name="valkey")
            keeping.add_done_callback(lambda _: self._stop.set())
            try:
                yield valkey.url
            finally:
                await keeper.stop()
                await keeping  # why it could not go on comes out here

    async def _start(self, keeper: ValkeyKeeper) -> None:
        """Start Redis, or stop it when asked to: it may take minutes to read its data."""
        starting = asyncio.create_task(keeper.start(), name="start of valkey")
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                return
            await keeper.stop()
            with contextlib.suppress(ServiceError):  # it says that the server has ended
                await starting
        finally:
            stopping.cancel()

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
        options, sessions = self.options, self._connect(redis_url)
        life_reader, life_writer = os.pipe()
        self._warden = Warden(sessions, grace=options.session_grace)
        try:
            try:
                await revoke_leftovers(sessions, runtime_dir)
            except UnavailableError as error:
                raise ServiceError(str(error)) from None
            spec = self._spec("spare worker", Role.SPARE, listener, redis_url)
            spare = self._spare = Spare(spec=spec, life_reader=life_reader, on_change=self._write_record)
            children = self._children = Children(
                life_reader=life_reader,
                on_change=lambda _: self._write_record(),
                on_exit=self._on_exit,
                take_spare=spare.take,
                start_within=options.start_within,
            )
            for spec in self._specs(listener, redis_url):
                children.start(spec)
            end_within = options.drain_seconds + _END_SHARE
            rollouts = Rollouts(Rollout(children, spare, check=options.check, end_within=end_within))
            self._rollouts = rollouts
            control = ControlServer(runtime_dir, rollouts.run)
            await control.start()
            beside = [
                asyncio.create_task(self._warden.watch(children), name="warden"),
                asyncio.create_task(self._announce_when_ready(children, spare), name="announce"),
            ]
            try:
                await self._until_stop(children)
            finally:
                listener.close()  # from here on a new connection is refused, not left waiting
                await control.stop()
                beside += self._unasked
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                await self._stop_children(children)
                await self._warden.settle(_SETTLE_SHARE)
        finally:
            os.close(life_writer)
            os.close(life_reader)
            await sessions.close()

    def _specs(self, listener: socket.socket, redis_url: str) -> list[ChildSpec]:
        workers = [f"worker {n}" for n in range(1, self.options.workers + 1)]
        gateways = [f"gateway {n}" for n in range(1, self.options.gateways + 1)]
        return [
            *(self._spec(name, Role.WORKER, listener, redis_url) for name in workers),
            *(self._spec(name, Role.GATEWAY, listener, redis_url) for name in gateways),
        ]

    def _spec(self, name: str, role: Role, listener: socket.socket, redis_url: str) -> ChildSpec:
        descriptor = listener.fileno()
        given = (descriptor,) if role is Role.GATEWAY else ()
        return ChildSpec(name, role, self.options.command(role, descriptor), {"REDIS_URL": redis_url}, given)

    def _on_exit(self, process: ProcessIdentity, session: str | None) -> None:
        if self._warden is not None:
            self._warden.process_ended(process, session)
        if self._rollouts is not None and not self._stop.is_set():
            self._rollouts.process_ended()

    async def _announce_when_ready(self, children: Children, spare: Spare) -> None:
        await children.all_ready()
        if self._record is not None:
            self._write_record(ready=True)
            try:
                self._announce(self._record)
            except OSError as error:  # a full disk, or a pipe that nobody reads
                logger.warning(
                    "the service is ready on %s, which cannot be printed: %s", self._record.url, error
                )
        if self.options.spare:
            await spare.run()

    async def _until_stop(self, children: Children) -> None:
        """Return when asked to stop; raise what made a child give up."""
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        broken = asyncio.create_task(children.until_broken(), name="broken")
        try:
            await asyncio.wait({stopping, broken}, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
        finally:
            stopping.cancel()
            broken.cancel()

    async def _stop_children(self, children: Children) -> None:
        """Gateways first, for they still need the workers to answer; then the workers."""
        logger.info("stopping")
        deadline = time.monotonic() + STOP_WITHIN - STOP_PATIENCE - _SETTLE_SHARE
        await children.stop(Role.GATEWAY, _GATEWAY_SHARE, self._force)
        await children.stop(Role.WORKER, deadline - time.monotonic(), self._force)

    # --- What others find

    def _write_record(self, *, ready: bool | None = None) -> None:
        if self._record is None:
            return
        running: list[tuple[str, ProcessIdentity | None]] = []
        if self._children is not None:
            running += [(child.spec.name, child.identity) for child in self._children]
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
