"""The schedule: in every worker process a thread copies objects whose changes have waited long enough.

Who claims an object's row in the database copies the object, so that one worker does it whichever owns the object: the owner
hands over a consistent file, and a sleeping object's file is read by anybody. Nothing of it runs on the loop of the objects,
except the owner's own small steps. A worker that dies leaves its claim to run out, and somebody else does the work.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import NamedTuple

from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from durable.client import ClusterClient, home
from durable.conf import DurableSettings
from durable.errors import DurableError
from durable.identity import ObjectId, id_from_string
from durable.inspector import Inspector
from durable.models import BackupState

from .archive import open_archive
from .backups import AGAIN, Backups, Made

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0  # between two looks when there was nothing to do
AT_ONCE = 2  # objects that one worker copies at the same time
LOOK_AT = 32  # rows that are read to claim some: workers that look at once should not all want the first ones
LONGEST_PAUSE = 300.0  # seconds between two looks when everything fails
STOP_SECONDS = 2.0
WHO = "backups"


class Round(NamedTuple):
    """What one round has come to."""

    done: int
    failed: int


class BackupKeeper:
    """Makes the copies that are due, in a thread of its own. Use it as a context manager.

    Args:
        conf: the settings; `redis_url` must be set.
        now: the time.
    """

    def __init__(self, conf: DurableSettings, now: Callable[[], datetime] = timezone.now) -> None:
        self._conf = conf
        self._now = now
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="durable-backups", daemon=True)

    def __enter__(self) -> BackupKeeper:
        if self._conf.backup_every is not None:
            self._thread.start()
        return self

    def stop(self) -> None:
        """Begin nothing more; returns at once."""
        self._stopping.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Wait a moment for what is under way. A copy that takes longer is made by another worker later."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        assert self._conf.backup_every is not None
        idle = min(LOOK_SECONDS, self._conf.backup_every / 4)
        pause = idle
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                found = self._round()
            except (DurableError, DatabaseError, OSError) as error:
                log.warning("backups are not made now: %s", error)
                found = Round(0, 1)
            except Exception:
                log.exception("backups are not made now")
                found = Round(0, 1)
            finally:
                connections.close_all()
            if found.failed and not found.done:
                pause = min(LONGEST_PAUSE, max(idle, pause) * 2)
            else:  # at most half of the time is spent on copies
                pause = min(idle, time.monotonic() - began) if found.done else idle

    def _round(self) -> Round:
        archive = open_archive(self._conf.backup_storage)
        claimed = claim(self._conf, self._now())
        if not claimed:
            return Round(0, 0)

        async def work(client: ClusterClient) -> Round:
            backups = Backups(Inspector(client, self._conf, WHO), archive, self._conf, self._now)
            return await run_round(backups, claimed)

        return home.run(work)


def claim(conf: DurableSettings, now: datetime) -> list[BackupState]:
    """Some rows that are due, and now this worker's."""
    assert conf.backup_every is not None
    rows = BackupState.objects
    due = list(rows.due(now, every=timedelta(seconds=conf.backup_every), again=AGAIN)[:LOOK_AT])
    if len(due) < LOOK_AT:
        keep = timedelta(days=conf.backup_keep_days)
        due += rows.expired(now, keep=keep, again=AGAIN)[: LOOK_AT - len(due)]
    random.shuffle(due)
    claimed: list[BackupState] = []
    for state in due:
        if len(claimed) == AT_ONCE:
            break
        if state.claim(now, AGAIN):
            claimed.append(state)
    return claimed


async def run_round(backups: Backups, claimed: list[BackupState]) -> Round:
    """Do what is due for some objects, all at once."""
    done = await asyncio.gather(*(_do(backups, state) for state in claimed))
    return Round(sum(done), len(done) - sum(done))


async def _do(backups: Backups, state: BackupState) -> bool:
    """Copy the object, or remove the copies of one that was deleted; whether that worked."""
    try:
        object_id: ObjectId = id_from_string(state.class_key, state.object_id)
        if state.gone_at is not None:
            await backups.expire(object_id, state)
        elif await backups.make_claimed(object_id, state) is Made.COPIED:
            log.debug("a copy of %r was made", object_id)
    except (DurableError, OSError) as error:
        log.warning("%s %s could not be backed up: %s", state.class_key, state.object_id, error)
        return False
    return True
