"""A service in one process, for development: what `runserver` needs around its web server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from durable.backups import BackupKeeper
from durable.catalog import DjangoCatalog
from durable.cluster.processes import identify_self
from durable.cluster.redis import RedisCluster
from durable.conf import DurableSettings
from durable.troubles import DjangoTroubles
from durable.worker import Worker

from .attach import use_redis
from .discovery import ChildRecord, ServiceRecord, remove_record, write_record
from .leftovers import end_leftovers
from .lifeline import LIFE_VARIABLE
from .listener import open_listener
from .lock import ServiceLock
from .rundir import runtime_directory
from .valkey import Valkey
from .warden import revoke_leftovers
from .worker_process import SWITCH_INTERVAL

_START_WITHIN = 60.0
_STOP_WITHIN = 3.0


@contextlib.contextmanager
def hold_service(conf: DurableSettings, host: str, port: int) -> Iterator[None]:
    """Hold the data directory and keep Redis for this process and those it starts, until the block ends.

    Must be entered from the main thread, which the embedded Valkey is tied to.
    """
    with contextlib.ExitStack() as held:
        held.enter_context(ServiceLock(conf.data_dir))
        runtime_dir = runtime_directory(conf.data_dir)
        end_leftovers(conf.data_dir, runtime_dir)
        open_listener(host, port).close()  # a busy port is said now, in one line
        children: tuple[ChildRecord, ...] = ()
        redis_url = conf.redis_url
        if redis_url is None:
            valkey = held.enter_context(contextlib.closing(Valkey(conf.data_dir, runtime_dir)))
            valkey.start()
            redis_url = use_redis(valkey.url).redis_url
            if valkey.identity is not None:
                children = (ChildRecord("valkey", valkey.identity.pid, valkey.identity.started),)
        asyncio.run(_revoke_leftovers(str(redis_url), runtime_dir))
        me = identify_self()
        record = ServiceRecord(
            pid=me.pid,
            pid_started=me.started,
            redis_url=str(redis_url),
            runtime_dir=str(runtime_dir),
            host=host,
            port=port,
            started=time.time_ns() // 1_000_000,
            ready=True,
            children=children,
        )
        write_record(conf.data_dir, record)
        held.callback(remove_record, conf.data_dir)
        yield


async def _revoke_leftovers(redis_url: str, runtime_dir: Path) -> None:
    sessions = RedisCluster(redis_url)
    try:
        await revoke_leftovers(sessions, runtime_dir)
    finally:
        await sessions.close()


@contextlib.contextmanager
def tied_children() -> Iterator[None]:
    """Let the processes started inside the block notice the end of this one, however it comes (see `Lifeline`)."""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.environ[LIFE_VARIABLE] = str(reader)
    try:
        yield
    finally:
        os.environ.pop(LIFE_VARIABLE, None)
        os.close(reader)
        os.close(writer)


class WorkerThread:
    """A worker beside a web server: its own thread, its own event loop, one process.

    Stop it before the interpreter shuts down: from then on no thread pool takes work any more.
    """

    def __init__(self, conf: DurableSettings, runtime_dir: Path) -> None:
        self._conf = conf
        self._runtime_dir = runtime_dir
        self._thread = threading.Thread(target=self._run, name="durable-worker", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Start the worker and return once it serves; raises what kept it from that."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._thread.start()
        if not self._ready.wait(_START_WITHIN):
            raise TimeoutError(f"the worker was not ready within {_START_WITHIN:g} s")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop the worker, within bounds; harmless when it has stopped."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_WITHIN)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._work())
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._failure = error
        finally:
            self._ready.set()

    async def _work(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        with (
            DjangoCatalog(self._conf.data_dir) as catalog,
            DjangoTroubles() as troubles,
            BackupKeeper(self._conf) as backups,
        ):
            worker = Worker(
                self._conf,
                redis_url=str(self._conf.redis_url),
                runtime_dir=self._runtime_dir,
                catalog=catalog,
                troubles=troubles,
            )
            await worker.start()
            self._ready.set()
            try:
                await self._stop.wait()
            finally:
                backups.stop()
                await worker.stop()
