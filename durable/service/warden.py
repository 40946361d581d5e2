"""Sessions of this host's workers: revoked when the process is gone, and the process killed when the session is gone.

A dead worker's session would keep its objects unreachable for the rest of its lease. A process that outlives its
session may be stopped in the middle of a transaction, and then holds its files' locks until it dies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from durable.cluster.processes import ProcessIdentity, is_alive, is_stopped
from durable.errors import UnavailableError

from .child import Child, ChildState
from .launch import Role

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
#: A worker that runs, but finds itself expired at its next renewal, drops what it holds and registers anew: so long
#: is it left alone.
GRACE_SECONDS = 8.0
_REVOKE_FOR = 15.0
_REVOKE_PAUSE = 0.1


class WorkerSession(Protocol):
    """What is asked of a registered session."""

    @property
    def worker(self) -> str: ...  # noqa: D102
    @property
    def pid(self) -> int: ...  # noqa: D102
    @property
    def pid_started(self) -> int: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102


class Sessions(Protocol):
    """The sessions that Redis knows; each question raises `UnavailableError` when Redis does not answer."""

    async def revoke_worker(self, worker_id: str) -> object:
        """End a session now; harmless when it has ended."""

    async def session_alive(self, worker_id: str) -> bool:
        """Whether the session has not expired."""

    async def list_workers(self) -> Sequence[WorkerSession]:
        """All sessions that have not expired."""

    async def close(self) -> object:
        """Give the connections back."""


class Warden:
    """Watches the worker children of one supervisor.

    Args:
        sessions: where sessions are kept.
        grace: seconds that a running process may be without a session while Redis answers.
        clock: monotonic seconds.
    """

    def __init__(
        self, sessions: Sessions, *, grace: float = GRACE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._grace = grace
        self._clock = clock
        self._missing_since: dict[ProcessIdentity, float] = {}
        self._revoking: set[asyncio.Task[None]] = set()

    def process_ended(self, process: ProcessIdentity, worker_id: str | None) -> None:
        """Revoke the sessions of a process that was seen to end: the one it reported, and any it had no time to."""
        task = asyncio.create_task(self._revoke_all_of(process, worker_id), name=f"revoke of {process.pid}")
        self._revoking.add(task)
        task.add_done_callback(self._revoking.discard)

    async def watch(self, children: Iterable[Child]) -> None:
        """Look at all worker children twice a second, for ever."""
        answering = True
        while True:
            try:
                for child in [child for child in children if child.spec.role is Role.WORKER]:
                    await self._look_at(child)
                answering = True
            except UnavailableError as error:
                # Without Redis nobody can renew: the time does not count against the workers.
                self._missing_since.clear()
                if answering:
                    logger.warning("cannot look at the workers' sessions: %s", error)
                answering = False
            await asyncio.sleep(POLL_SECONDS)

    async def settle(self, timeout: float) -> None:
        """Wait until the revocations under way are done, but at most ``timeout`` seconds."""
        if self._revoking:
            await asyncio.wait(self._revoking, timeout=timeout)

    async def _look_at(self, child: Child) -> None:
        identity, worker_id = child.identity, child.worker_id
        if child.state is not ChildState.READY or identity is None or worker_id is None:
            return
        if await self._sessions.session_alive(worker_id):
            self._missing_since.pop(identity, None)
            return
        renewed = [one.worker for one in await self._sessions.list_workers() if _process_of(one) == identity]
        if child.identity != identity or child.worker_id != worker_id:
            return  # it changed while Redis was asked
        if renewed:
            child.worker_id = renewed[0]
            return
        since = self._missing_since.setdefault(identity, self._clock())
        # A stopped process cannot register anew, and may hold locks: no grace.
        if is_stopped(identity) or self._clock() - since >= self._grace:
            self._missing_since.pop(identity, None)
            logger.warning("%s (pid %d) outlived its session: killing it", child.spec.name, identity.pid)
            child.kill()

    async def _revoke_all_of(self, process: ProcessIdentity, worker_id: str | None) -> None:
        """Retried while Redis does not answer, for as long as a session could last."""
        deadline = self._clock() + _REVOKE_FOR
        while True:
            try:
                if worker_id is not None:
                    await self._sessions.revoke_worker(worker_id)
                for session in await self._sessions.list_workers():
                    if _process_of(session) == process:
                        await self._sessions.revoke_worker(session.worker)
                return
            except UnavailableError as error:
                if self._clock() > deadline:
                    logger.warning("could not revoke the sessions of process %d: %s", process.pid, error)
                    return
            await asyncio.sleep(_REVOKE_PAUSE)


async def revoke_leftovers(sessions: Sessions, runtime_dir: Path) -> None:
    """Revoke what an earlier service left: sessions on this runtime directory's sockets without a process."""
    for session in await sessions.list_workers():
        if str(runtime_dir) in session.address and not is_alive(_process_of(session)):
            logger.info("revoking the session %s of a worker that is gone", session.worker)
            await sessions.revoke_worker(session.worker)


def _process_of(session: WorkerSession) -> ProcessIdentity:
    return ProcessIdentity(session.pid, session.pid_started)
