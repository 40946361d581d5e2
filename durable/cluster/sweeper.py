"""Refills the index of due alarms from the objects' files, when Redis has lost it or may have come back with an old one.

Redis carries a mark of the last sweep with the id of the Redis run it was made in. Where the mark is missing (it was wiped)
or of another run (it was restarted, perhaps with what it had a while ago), one worker goes through all files, in a
process of low priority. What it finds never replaces what owners have indexed since.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

from durable.storage.sweep import LOOK

from .redis import RedisCluster, RedisUnavailableError

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
TURN_SECONDS = 20.0  # a sweeper that has said nothing for so long has died
BATCH = 500


class AlarmSweeper:
    """Sweeps when it is necessary and nobody else does.

    Args:
        redis: the index.
        root: directory of the objects' files.
        worker: this worker's id.
        now: ms since the epoch.
    """

    def __init__(self, redis: RedisCluster, root: Path, worker: str, now: Callable[[], int]) -> None:
        self._redis = redis
        self._root = root
        self._worker = worker
        self._now = now

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                run = await self._redis.run_id()
                if await self._redis.last_sweep() != run and await self._redis.begin_sweep(
                    self._worker, TURN_SECONDS
                ):
                    await self._sweep(run)
            except RedisUnavailableError as error:
                log.warning("the index of alarms cannot be looked after: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def _sweep(self, run: str) -> None:
        log.info("sleeping objects' alarms are looked for in their files")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "durable.storage.sweep",
            str(self._root),
            stdout=PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
        )
        try:
            found = await self._index(process)
            if found is None:
                log.warning("the index of alarms was lost while it was refilled: once more")
            elif await process.wait():
                log.error("the sweep for alarms failed with status %s", process.returncode)
            else:
                await self._redis.end_sweep(run)
                log.info("the index of alarms is whole: %d found", found)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _index(self, process: Process) -> int | None:
        """Index what the process finds; how many, or None when somebody else's turn has come."""
        assert process.stdout is not None
        batch: list[tuple[str, int]] = []
        total, ended = 0, False
        while not ended:
            try:
                async with asyncio.timeout(TURN_SECONDS / 4):
                    while len(batch) < BATCH:
                        line = await process.stdout.readline()
                        if not line:
                            ended = True
                            break
                        reference, at = line.decode().split()
                        batch.append((reference, int(at)))
            except TimeoutError:
                pass
            now = self._now()
            await self._redis.index_found([(reference, now if at == LOOK else at) for reference, at in batch])
            total += len(batch)
            batch.clear()
            if not await self._redis.prolong_sweep(self._worker, TURN_SECONDS):
                return None
        return total
