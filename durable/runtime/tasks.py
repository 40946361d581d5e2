"""Tasks that a handler makes are its event's: while one of them runs, the marker outside the process says so.

Without that an event that waits for a task which ends the process would be repeated for ever: nobody could say what
the workers died of. Nothing else about such tasks is changed; they are neither tracked nor ended with their event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from .events import current_event
from .steps import Steps


class StepsOfTask(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are marked. A plain generator around it would leave it unawaited when it is cancelled early."""

    __slots__ = ("_coroutine", "_steps", "_what")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], what: bytes, steps: Steps) -> None:
        self._coroutine = coroutine
        self._what = what
        self._steps = steps

    def send(self, value: Any) -> Any:
        """One step."""
        with self._steps.mark(self._what):
            return self._coroutine.send(value)

    def throw(self, *raised: Any) -> Any:
        """One step, which begins with an exception."""
        with self._steps.mark(self._what):
            return self._coroutine.throw(*raised)

    def close(self) -> None:
        """No more steps."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:  # cr_frame and the like, for who shows stacks
        return getattr(self._coroutine, name)


class TaskFactory:
    """Makes the loop's tasks (`loop.set_task_factory`)."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __call__(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task, marked if a handler makes it."""
        event = current_event.get()
        if event is not None and event.mark is not None and isinstance(coroutine, Coroutine):
            coroutine = StepsOfTask(coroutine, event.mark, self._steps)
        return asyncio.Task(coroutine, loop=loop, **options)
