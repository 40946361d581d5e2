"""Coroutines that run without a task of their own: a task costs more than most of what a request does.

`step` runs a coroutine's first step at once, and only if it has to wait, the rest in a task. A send to a client that reads
suspends nowhere: it then costs a function call instead of a task and a turn of the loop.

`Taskless` also goes on without a task when a call's result comes (`CallResult`), in the moment in which it does. What waits for
anything else gets its task then.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

T = TypeVar("T")


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


class CallResult(Generic[T]):
    """What a call comes to. To be awaited once: by a task, as a future is, or by work that has none."""

    __slots__ = ("_error", "_has_come", "_value", "_wake")

    def __init__(self) -> None:
        self._has_come = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._wake: Callable[[], None] | None = None

    def set_result(self, value: T) -> None:
        """The call has succeeded. What waits without a task goes on before this returns."""
        self._value = value
        self._come()

    def set_exception(self, error: BaseException) -> None:
        """The call has failed. What waits without a task goes on before this returns."""
        self._error = error
        self._come()

    def _come(self) -> None:
        self._has_come = True
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def forget(self) -> None:
        """Nobody waits any more."""
        self._wake = None

    def __await__(self) -> Generator[Any, Any, T]:
        if not self._has_come:
            work = Taskless.here.running
            if work is not None:
                self._wake = work.go_on
                yield self
            else:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._wake = partial(_set, future)
                yield from future
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():  # its task may have been cancelled
        future.set_result(None)


class _Cancellable(Protocol):
    def cancel(self, msg: Any = None) -> object:
        """End it."""


class Taskless:
    """Runs `work` as a task would, but none is there: `asyncio.current_task()` is None until it waits for something else than a call.

    So what needs one before that (`asyncio.timeout`, a TaskGroup) fails in it. It runs in a context of its own.

    Args:
        work: what is to be run. It raises nothing.
        running: where this stands while it waits, or its task, to be cancelled.
    """

    __slots__ = ("_context", "_running", "_waits_for", "_work")

    here: ClassVar[_Here]
    """Where this thread stands."""

    def __init__(self, work: Coroutine[Any, Any, None], running: set[_Cancellable]) -> None:
        self._work = work
        self._running = running
        self._context = contextvars.copy_context()
        self._waits_for: CallResult[Any] | None = None

    def go_on(self) -> None:
        """Run until it waits, or ends."""
        self._run(self._work.send, None)

    def cancel(self, msg: Any = None) -> bool:
        """Raise `asyncio.CancelledError` where it waits, with the next turn of the loop; whether it waits."""
        if self._waits_for is None:
            return False
        asyncio.get_running_loop().call_soon(self._cancel, msg)
        return True

    def _cancel(self, msg: Any) -> None:
        if self._waits_for is not None:  # else its result has come meanwhile
            self._waits_for.forget()
            self._run(self._work.throw, asyncio.CancelledError(msg))

    def _run(self, advance: Callable[[Any], Any], value: Any) -> None:
        here = Taskless.here
        before, here.running = here.running, self
        try:
            waits_for = self._context.run(advance, value)
        except StopIteration:
            waits_for = None
        except Exception as error:  # noqa: BLE001 - who brings a result, or a client's bytes, has nothing to do with it
            waits_for = None
            told = {"message": f"{self._work!r} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
        else:
            if type(waits_for) is not CallResult:
                self._become_task(waits_for)
                waits_for = None
        finally:
            here.running = before
        if waits_for is None:
            if self._waits_for is not None:
                self._running.discard(self)
        elif self._waits_for is None:
            self._running.add(self)
        self._waits_for = waits_for

    def _become_task(self, waited_for: Any) -> None:
        rest = _finish(self._work, waited_for)
        task = asyncio.get_running_loop().create_task(rest, context=self._context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


class _Here(threading.local):
    """What is running in this moment, on the loop of this thread."""

    running: Taskless | None = None


Taskless.here = _Here()
