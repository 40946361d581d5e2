"""Run a coroutine's first step at once, and only if it has to wait, the rest in a task.

A send to a client that reads suspends nowhere: it then costs a function call instead of a task and a turn of the loop.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


def step(work: Coroutine[Any, Any, Any]) -> Callable[[], asyncio.Task[None]] | None:
    """Run `work` until it waits. None when it has ended; else a function that runs the rest in a task.

    Raises what the first step raised.
    """
    try:
        waited_for = work.send(None)
    except StopIteration:
        return None
    return lambda: asyncio.get_running_loop().create_task(_finish(work, waited_for))


async def _finish(work: Coroutine[Any, Any, Any], waited_for: Any) -> None:
    await _continue(work, waited_for)


@types.coroutine
def _continue(work: Coroutine[Any, Any, Any], waited_for: Any) -> Generator[Any, Any, None]:
    while True:
        thrown: BaseException | None = None
        value = None
        try:
            value = yield waited_for
        except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the work
            thrown = error
        try:
            waited_for = work.send(value) if thrown is None else work.throw(thrown)
        except StopIteration:
            return
