"""The life of a worker process: start, say so, serve, drain when asked to, end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import uuid
from pathlib import Path

from durable.backups import BackupKeeper
from durable.catalog import DjangoCatalog
from durable.cluster.marker import RunningMarker
from durable.conf import DurableSettings
from durable.errors import DurableError, UnavailableError
from durable.runtime.registry import registry
from durable.runtime.steps import Steps
from durable.runtime.tasks import TaskFactory
from durable.runtime.watchdog import EXIT_STATUS, Watchdog
from durable.storage import process
from durable.troubles import DjangoTroubles
from durable.worker import Worker

from . import collector
from .errors import ServiceError
from .lifeline import Lifeline
from .limits import limit_memory, raise_descriptor_limit

logger = logging.getLogger(__name__)

#: A thread that has waited for the disk gets the interpreter back only after this long: at the default of 5 ms a
#: busy loop cuts 7,600 syncs a second to 150.
SWITCH_INTERVAL = 0.0005
_STOP_PATIENCE = 5.0


async def run_worker(
    conf: DurableSettings, redis_url: str, runtime_dir: Path, lifeline: Lifeline, code: str
) -> None:
    """Serve objects with the code of that version until SIGTERM, Ctrl-C or the supervisor's end."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    process.prepare(conf.data_dir)
    raise_descriptor_limit()
    limit_memory(2 * conf.worker_memory_limit)
    loop = asyncio.get_running_loop()
    drain, stop = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (stop if drain.is_set() else drain).set()

    def end_orphaned() -> None:
        logger.warning("the supervisor is gone: ending")
        drain.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    lifeline.watch(lambda: loop.call_soon_threadsafe(end_orphaned))
    marker = RunningMarker(runtime_dir, uuid.uuid4().hex)
    steps = Steps(marker, conf.worker_memory_limit)
    loop.set_task_factory(TaskFactory(steps))
    watchdog = Watchdog(
        steps,
        notice=conf.blocking_notice,
        limit=conf.blocking_limit,
        grace=conf.blocking_grace,
    )
    with (
        DjangoCatalog(conf.data_dir) as catalog,
        DjangoTroubles() as troubles,
        BackupKeeper(conf) as backups,
    ):
        worker = Worker(
            conf,
            redis_url=redis_url,
            runtime_dir=runtime_dir,
            on_ready=lambda session: lifeline.report_ready(session, registry.versions()),
            catalog=catalog,
            steps=steps,
            troubles=troubles,
            code=code,
            place=lifeline.place,
        )
        try:
            await worker.start()
        except UnavailableError:
            raise
        except DurableError as error:  # this data directory, or this Redis, is not one to serve
            raise ServiceError(str(error)) from None
        collector.settle()
        watchdog.start()
        try:
            await drain.wait()
        except asyncio.CancelledError:  # nobody but the end of the loop cancels this
            steps.blame_last()
            logger.critical(
                "a handler has ended the loop: this process ends, and its objects go to other workers"
            )
            os._exit(EXIT_STATUS)
        backups.stop()
        await _drain(worker, stop, conf.drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.stop(), _STOP_PATIENCE)
    watchdog.stop()
    marker.close()


async def _drain(worker: Worker, stop: asyncio.Event, within: float) -> None:
    """Drain until done, too late, or told to stop at once."""
    draining = asyncio.create_task(worker.drain(), name="drain")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({draining, stopping}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not draining.done():
        logger.warning("ending before everything was drained")
        draining.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await draining
