"""All processes that one supervisor keeps: started, replaced by others of newer code, and stopped together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from durable.cluster.processes import ProcessIdentity

from .child import START_WITHIN, Child
from .errors import ServiceError
from .launch import ChildSpec, Launched, Role
from .transcript import Transcript

logger = logging.getLogger(__name__)


class Children:
    """The children of the moment, in the order in which they were started; see `Child` for the arguments.

    Args:
        take_spare: gives a loaded worker, if one waits.
    """

    def __init__(
        self,
        *,
        life_reader: int,
        on_change: Callable[[Child], None],
        on_exit: Callable[[ProcessIdentity, str | None], None],
        take_spare: Callable[[str], Launched | None],
        start_within: float = START_WITHIN,
    ) -> None:
        self._life_reader = life_reader
        self._on_change = on_change
        self._on_exit = on_exit
        self._take_spare = take_spare
        self._start_within = start_within
        self._tasks: dict[Child, asyncio.Task[None]] = {}
        self._on_trial: set[Child] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._tasks))

    def of(self, role: Role) -> list[Child]:
        """The children of a role."""
        return [child for child in self if child.spec.role is role]

    # --- Coming

    def start(self, spec: ChildSpec) -> Child:
        """Keep one process more."""
        return self._keep(spec, None)

    async def replace(self, old: Child) -> Child:
        """Start a process beside an old one's that takes its place; returns when it serves, and the old one serves too.

        Raises `ServiceError`, with its last lines as detail, when it does not come to serve: then it is gone again.
        """
        new = self._keep(old.spec, Transcript())
        ready = asyncio.create_task(new.first_ready.wait())
        try:
            await asyncio.wait({ready, self._tasks[new]}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        self._on_trial.discard(new)
        if new.first_ready.is_set():
            return new
        task = self._tasks.pop(new)
        await task  # why it does not serve comes out here
        raise ServiceError(f"{new.spec.name} was stopped before it served.")

    def _keep(self, spec: ChildSpec, trial: Transcript | None) -> Child:
        child = Child(
            spec,
            life_reader=self._life_reader,
            on_change=self._on_change,
            on_exit=self._on_exit,
            take_spare=self._take_spare if spec.role is Role.WORKER else lambda _: None,
            trial=trial,
            start_within=self._start_within,
        )
        task = asyncio.create_task(child.run(), name=spec.name)
        self._tasks[child] = task
        if trial is not None:
            self._on_trial.add(child)
        task.add_done_callback(lambda done: self._ended(child, done))
        return child

    def _ended(self, child: Child, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and child not in self._on_trial and not self._broken.done():
            self._broken.set_exception(error)

    async def until_broken(self) -> None:
        """Raise what made a child give up, as soon as one does."""
        await asyncio.shield(self._broken)

    async def all_ready(self) -> None:
        """Return when each child of the moment has been ready once."""
        for child in self:
            await child.first_ready.wait()

    # --- Going

    async def retire(self, child: Child, patience: float) -> None:
        """Have a child end and not come back; it is killed when it takes longer than `patience` seconds."""
        child.request_stop()
        await self._until_ended([child], asyncio.Event(), patience)
        del self._tasks[child]
        self._on_change(child)

    async def stop(self, role: Role, patience: float, force: asyncio.Event) -> None:
        """Have all children of a role end; they are killed after `patience` seconds, or when `force` is set."""
        ending = self.of(role)
        for child in ending:
            child.request_stop()
        if ending:
            await self._until_ended(ending, force, patience)

    async def _until_ended(self, ending: list[Child], force: asyncio.Event, patience: float) -> None:
        tasks = [self._tasks[child] for child in ending]
        ended = asyncio.ensure_future(asyncio.wait(tasks))
        forced = asyncio.create_task(force.wait())
        try:
            await asyncio.wait(
                {ended, forced}, timeout=max(0.0, patience), return_when=asyncio.FIRST_COMPLETED
            )
            for child, task in zip(ending, tasks, strict=True):
                if not task.done():
                    logger.warning("%s has not ended in time: killing it", child.spec.name)
                    child.kill()
            await ended
        finally:
            forced.cancel()
            ended.cancel()
