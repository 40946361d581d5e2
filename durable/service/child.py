"""One process the supervisor keeps: started, waited for until ready, started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import signal
import time
from collections.abc import Callable

import msgspec

from durable.cluster.processes import ProcessIdentity, send_signal

from .backoff import RestartBackoff
from .errors import EXIT_REFUSED, ServiceError
from .launch import ChildSpec, Launched, launch
from .lifeline import ReadyReport
from .transcript import Transcript

logger = logging.getLogger(__name__)

#: Seconds a process may take to report ready before it is killed and started again.
START_WITHIN = 60.0
#: A process that was never ready and ended this often in a row will not become so by itself.
HOPELESS_STARTS = 3
_LAST_REPORT_WITHIN = 0.2
_NO_PROCESS = 71  # EX_OSERR: the system would not make one


class ChildState(enum.Enum):
    """Where a kept process is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # ended; to be started again after a delay
    STOPPING = "stopping"  # asked to end, for good
    ENDED = "ended"


class Child:
    """Keeps one process running until `request_stop`.

    Args:
        spec: how to start it.
        life_reader: reading end of the pipe whose writing end only the supervisor has.
        on_change: called after each start, ready report and end, with this child.
        on_exit: called at once when the process ended, with which it was and the session it last reported (or None).
        take_spare: gives a process that is loaded already and takes over the work of a child of that name, if there is one.
        trial: hears the first process, which gets one attempt to become ready and is never a spare.
        start_within: seconds a process may take to report ready.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        life_reader: int,
        on_change: Callable[[Child], None],
        on_exit: Callable[[ProcessIdentity, str | None], None],
        take_spare: Callable[[str], Launched | None] = lambda _: None,
        trial: Transcript | None = None,
        start_within: float = START_WITHIN,
    ) -> None:
        self.spec = spec
        self.report: ReadyReport | None = None
        self.state = ChildState.WAITING
        self.identity: ProcessIdentity | None = None
        self.worker_id: str | None = None
        self.starts = 0
        self.first_ready = asyncio.Event()
        self._life_reader = life_reader
        self._on_change = on_change
        self._on_exit = on_exit
        self._take_spare = take_spare
        self._trial = trial
        self._start_within = start_within
        self._overdue = False
        self._stop = asyncio.Event()
        self._backoff = RestartBackoff()

    async def run(self) -> None:
        """Keep the process running; returns after `request_stop`, raises `ServiceError` when it can never start."""
        failed_starts = 0
        while not self._stop.is_set():
            begun = time.monotonic()
            status = await self._live_once()
            lived = time.monotonic() - begun
            if self._stop.is_set():
                break
            if not self.first_ready.is_set():
                failed_starts += 1
                if status == EXIT_REFUSED and self._trial is None:
                    raise ServiceError(f"{self.spec.name} refuses to start; its reason stands above.")
                if self._trial is not None:
                    raise ServiceError(f"{self.spec.name} {self._why_not_ready(status)}.", self._trial.text)
                if failed_starts >= HOPELESS_STARTS:
                    raise ServiceError(
                        f"{self.spec.name} ended {failed_starts} times before it was ready ({_say(status)})."
                    )
            delay = self._backoff.after_exit(lived=lived, failed=status != 0)
            logger.warning(
                "%s ended (%s) after %.1f s; starting it again in %.2f s",
                self.spec.name,
                _say(status),
                lived,
                delay,
            )
            self._move(ChildState.WAITING)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        self._move(ChildState.ENDED)

    def request_stop(self) -> None:
        """Ask the process to end (SIGTERM) and do not start it again."""
        self._stop.set()
        if self.identity is not None:
            self._move(ChildState.STOPPING)
            send_signal(self.identity, signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once; it is started again unless a stop was requested."""
        if self.identity is not None:
            send_signal(self.identity, signal.SIGKILL)

    async def _live_once(self) -> int:
        """One life of the process, from start to end; its exit status, negative for a signal."""
        on_trial = self._trial is not None and not self.first_ready.is_set()
        launched = None if on_trial else self._take_spare(self.spec.name)
        if launched is None:
            try:
                launched = await launch(self.spec, self._life_reader, on_trial=on_trial)
            except OSError as error:
                logger.error("cannot start %s: %s", self.spec.name, error)
                return _NO_PROCESS
        process = launched.process
        self.starts += 1
        self.identity = launched.identity
        self._move(ChildState.STARTING)
        if self._stop.is_set():  # asked for while the process was being made
            self.request_stop()
        overdue = asyncio.get_running_loop().call_later(self._start_within, self._give_up_starting)
        pipes = {
            asyncio.create_task(self._follow_reports(launched.reports), name=f"{self.spec.name} reports")
        }
        if self._trial is not None and launched.output is not None:
            following = self._trial.follow(launched.output)
            pipes.add(asyncio.create_task(following, name=f"{self.spec.name} output"))
        try:
            return await process.wait()
        finally:
            overdue.cancel()
            ended, self.identity = self.identity, None
            # What it said last may still be in the pipes; with the process gone, their end follows.
            await asyncio.wait(pipes, timeout=_LAST_REPORT_WITHIN)
            for pipe in pipes:
                pipe.cancel()
            session, self.worker_id = self.worker_id, None
            if ended is not None:
                self._on_exit(ended, session)

    async def _follow_reports(self, descriptor: int) -> None:
        lines = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await lines.readline():
                report = msgspec.json.decode(line, type=ReadyReport)
                self.worker_id, self.report = report.worker, report
                if self.state is ChildState.STARTING:
                    self._move(ChildState.READY)
                    self.first_ready.set()
                else:
                    self._on_change(self)
        finally:
            transport.close()

    def _give_up_starting(self) -> None:
        if self.state is ChildState.STARTING:
            self._overdue = True
            logger.error("%s was not ready within %g s", self.spec.name, self._start_within)
            self.kill()

    def _why_not_ready(self, status: int) -> str:
        if self._overdue:
            return f"was not ready within {self._start_within:g} s"
        return f"ended before it was ready ({_say(status)})"

    def _move(self, state: ChildState) -> None:
        self.state = state
        self._on_change(self)


def _say(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
