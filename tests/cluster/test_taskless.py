"""Coroutines that run without a task of their own."""

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from durable.cluster.taskless import CallResult, Taskless, step


async def test_step_runs_what_does_not_wait_without_a_task() -> None:
    ran = []

    async def work() -> None:
        ran.append(1)

    assert step(work()) is None
    assert ran == [1]


async def test_step_runs_the_rest_in_a_task() -> None:
    ran, go = [], asyncio.Event()

    async def work() -> None:
        ran.append("first")
        await go.wait()
        await asyncio.sleep(0)
        ran.append("second")

    rest = step(work())
    assert ran == ["first"]
    assert rest is not None
    task = rest()
    go.set()
    await task
    assert ran == ["first", "second"]


async def test_step_raises_what_the_first_step_raised_and_the_task_what_the_rest_raised() -> None:
    async def work(first: bool) -> None:
        if first:
            raise LookupError
        await asyncio.sleep(0)
        raise KeyError

    with pytest.raises(LookupError):
        step(work(True))
    rest = step(work(False))
    assert rest is not None
    with pytest.raises(KeyError):
        await rest()


async def test_step_passes_a_cancellation_on() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(1)

    rest = step(work())
    assert rest is not None
    task = rest()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [1]


# -- results of calls


async def test_a_result_can_come_before_it_is_awaited_and_after() -> None:
    early: CallResult[int] = CallResult()
    early.set_result(1)
    assert await early == 1
    late: CallResult[int] = CallResult()
    asyncio.get_running_loop().call_soon(late.set_result, 2)
    assert await late == 2
    failed: CallResult[int] = CallResult()
    asyncio.get_running_loop().call_soon(failed.set_exception, LookupError("no"))
    with pytest.raises(LookupError, match="no"):
        await failed


async def test_a_task_that_is_cancelled_needs_no_result() -> None:
    result: CallResult[int] = CallResult()

    async def work() -> int:
        return await result

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result.set_result(1)


# -- work without a task


class Works:
    """What runs without a task, and what came of it."""

    def __init__(self) -> None:
        self.running: set[Any] = set()
        self.seen: list[Any] = []

    def start(self, work: Coroutine[Any, Any, None]) -> Taskless:
        taskless = Taskless(work, self.running)
        taskless.go_on()
        return taskless


@pytest.fixture
def works() -> Works:
    return Works()


async def test_it_goes_on_in_the_moment_in_which_the_result_comes(works: Works) -> None:
    results: list[CallResult[int]] = [CallResult(), CallResult()]

    async def work() -> None:
        for result in results:
            works.seen.append((await result, asyncio.current_task()))

    mine = asyncio.current_task()
    assert mine is not None
    taskless = works.start(work())
    assert works.running == {taskless}
    # A callback of the loop's has no task, as have bytes that come.
    done = asyncio.Event()

    def bring() -> None:
        for number, result in enumerate(results):
            result.set_result(number)
            assert works.seen[-1] == (number, None)
        done.set()

    asyncio.get_running_loop().call_soon(bring)
    await done.wait()
    assert len(works.seen) == 2
    assert works.running == set()


async def test_what_does_not_wait_is_over_at_once(works: Works) -> None:
    async def work() -> None:
        works.seen.append(1)

    works.start(work())
    assert (works.seen, works.running) == ([1], set())


async def test_what_waits_for_something_else_gets_a_task(works: Works) -> None:
    result: CallResult[int] = CallResult()

    async def work() -> None:
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            works.seen.append(await result)

    works.start(work())
    (task,) = works.running
    assert isinstance(task, asyncio.Task)
    await asyncio.sleep(0.01)
    result.set_result(7)
    await task
    await asyncio.sleep(0)
    assert (works.seen, works.running) == ([7], set())


async def test_calls_that_it_makes_side_by_side_have_tasks(works: Works) -> None:
    results: list[CallResult[int]] = [CallResult(), CallResult()]

    async def ask(result: CallResult[int]) -> int:
        assert asyncio.current_task() is not None
        return await result

    async def work() -> None:
        works.seen.extend(await asyncio.gather(*map(ask, results)))

    works.start(work())
    for number, result in enumerate(results):
        asyncio.get_running_loop().call_later(0.01, result.set_result, number)
    await asyncio.sleep(0.05)
    assert (works.seen, works.running) == ([0, 1], set())


async def test_one_that_begins_within_another_leaves_that_where_it_was(works: Works) -> None:
    outer: CallResult[str] = CallResult()
    inner: CallResult[str] = CallResult()

    async def within() -> None:
        works.seen.append(await inner)

    async def work() -> None:
        works.start(within())
        works.seen.append(await outer)

    works.start(work())
    outer.set_result("outer")
    inner.set_result("inner")
    assert (works.seen, works.running) == (["outer", "inner"], set())


async def test_it_is_cancelled_where_it_waits(works: Works) -> None:
    result: CallResult[int] = CallResult()
    other: CallResult[int] = CallResult()

    async def work() -> None:
        try:
            await result
        except asyncio.CancelledError:
            works.seen.append("cancelled")
            await other

    taskless = works.start(work())
    for one in works.running:  # as a server does that stops
        assert one.cancel("the gateway stops")
    await asyncio.sleep(0)
    assert works.seen == ["cancelled"]
    result.set_result(1)  # nobody waits for it any more
    assert works.running == {taskless}
    other.set_result(2)
    assert works.running == set()
    assert not taskless.cancel()


async def test_a_result_that_comes_before_the_cancellation_counts(works: Works) -> None:
    result: CallResult[int] = CallResult()

    async def work() -> None:
        works.seen.append(await result)

    taskless = works.start(work())
    assert taskless.cancel()
    result.set_result(1)
    await asyncio.sleep(0)
    assert (works.seen, works.running) == ([1], set())


async def test_what_it_raises_is_nothing_to_who_brings_a_result(works: Works) -> None:
    result: CallResult[int] = CallResult()
    told: list[Any] = []

    async def work() -> None:
        await result
        raise KeyError("x")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    works.start(work())
    result.set_result(1)
    assert [type(error) for error in told] == [KeyError]
    assert works.running == set()


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


async def test_its_context_is_its_own(works: Works) -> None:
    result: CallResult[int] = CallResult()

    async def work() -> None:
        VARIABLE.set("set")
        await result
        works.seen.append(VARIABLE.get())
        await asyncio.sleep(0)
        works.seen.append(VARIABLE.get())

    works.start(work())
    assert VARIABLE.get() == "unset"
    result.set_result(1)
    assert VARIABLE.get() == "unset"
    await asyncio.sleep(0.01)
    assert works.seen == ["set", "set"]


async def test_what_runs_in_one_thread_is_nothing_to_another() -> None:
    heard = []

    async def elsewhere() -> None:
        result: CallResult[int] = CallResult()
        asyncio.get_running_loop().call_soon(result.set_result, 1)
        heard.append(await result)

    async def work() -> None:
        other = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        other.start()
        other.join()

    Taskless(work(), set()).go_on()
    assert heard == [1]
