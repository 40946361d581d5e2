"""`@concurrent` methods: what holds for serial events holds for them too, but for storage."""

import asyncio
from typing import Any

import pytest

from durable.errors import ObjectResetError, OverloadedError, ReentrantCallError
from durable.testing import LocalObjects
from durable.testing.fleet import DEADLINE
from tests.durable.lab import HOOKS, Lab, do, do_beside, lab, put


async def test_C7_a_cycle_through_a_concurrent_method_fails_at_once(local: LocalObjects) -> None:
    await lab("beside").value()  # active: the call does not go through its queue

    async def call_beside(obj: Lab) -> Any:
        return await do_beside(lab("beside"), call_back)

    async def call_back(obj: Lab) -> Any:
        return await lab("first").value()

    with pytest.raises(ReentrantCallError, match="first"):
        await do(lab("first"), call_beside)


async def test_C7_an_object_whose_concurrent_method_calls_can_be_called_back(local: LocalObjects) -> None:
    async def call_other(obj: Lab) -> Any:
        return await do(lab("other"), lambda obj: lab().increment())

    assert [await do_beside(lab(), call_other) for _ in range(2)] == [1, 2]


async def test_C6_a_call_made_by_a_repeated_concurrent_call_counts_once(local: LocalObjects) -> None:
    called, attempts = asyncio.Event(), []

    async def call_other(obj: Lab) -> Any:
        attempts.append(1)
        result = await lab("other").increment()
        if len(attempts) == 1:
            called.set()
            await asyncio.Event().wait()
        return result

    await lab().value()
    call = asyncio.create_task(do_beside(lab(), call_other))
    await called.wait()
    await local.crash()
    assert await call == 1
    assert (len(attempts), await lab("other").value()) == (2, 1)


async def test_C6_a_concurrent_call_of_which_a_part_stands_is_not_said_to_be_safe_to_repeat(
    local: LocalObjects,
) -> None:
    async def run_two(obj: Lab) -> None:
        await obj.ctx.run(put, obj, "first", 1)
        await obj.ctx.run(refuse)

    async def refuse() -> None:
        raise OverloadedError("no more")

    with pytest.raises(OverloadedError) as caught:
        await do_beside(lab(), run_two)
    assert caught.value.delivered == "unknown"
    with pytest.raises(OverloadedError) as caught:
        await do_beside(lab(), lambda obj: obj.ctx.run(refuse))
    assert caught.value.delivered == "no"


async def test_C5_a_failing_event_takes_no_concurrent_one_with_it(local: LocalObjects) -> None:
    def fail(obj: Lab) -> None:
        raise ValueError("mine alone")

    for _ in range(20):
        await lab().value()
        failed, answer = await asyncio.gather(
            do(lab(), fail), do_beside(lab(), lambda obj: "fine"), return_exceptions=True
        )
        assert (str(failed), answer) == ("ValueError: mine alone", "fine")


async def test_C5_a_concurrent_method_can_discard_its_incarnation(local: LocalObjects) -> None:
    starts = []
    HOOKS["start"] = lambda obj: starts.append(1)
    await lab().value()
    with pytest.raises(ObjectResetError, match="anew"):
        await do_beside(lab(), lambda obj: obj.ctx.abort("anew"))
    await lab().value()
    assert starts == [1, 1]


async def test_O6_a_concurrent_call_that_has_not_begun_when_its_object_moves_goes_with_it(
    local: LocalObjects,
) -> None:
    await lab().value()
    activation = local.host.activations[str(lab().id)]  # type: ignore[attr-defined]
    call = asyncio.create_task(do_beside(lab(), lambda obj: "there"))
    while not activation.beside:
        await asyncio.sleep(0)
    activation.beside.cancel()
    assert await call == "there"


async def test_G3_start_completes_before_a_concurrent_event(local: LocalObjects) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def start(obj: Lab) -> None:
        if obj.ctx.id.name == "other":
            return
        reached.set()
        await go_on.wait()
        obj.is_ready = True  # type: ignore[attr-defined]

    HOOKS["start"] = start
    waking = asyncio.create_task(lab().value())
    await reached.wait()
    call = asyncio.create_task(do_beside(lab(), lambda obj: hasattr(obj, "is_ready")))
    await lab("other").value()  # what was sent before it has arrived
    assert not call.done()
    go_on.set()
    assert await call
    await waking


async def test_C7_a_start_that_waits_for_a_concurrent_method_of_its_own_object_fails_at_once(
    local: LocalObjects,
) -> None:
    async def call_back(obj: Lab) -> Any:
        return await do_beside(lab(), lambda obj: "never")

    async def start(obj: Lab) -> None:
        if obj.ctx.id.name == "lab":
            await do(lab("other"), call_back)

    HOOKS["start"] = start
    with pytest.raises(ReentrantCallError, match="Lab.lab. -> Lab.other. -> Lab.lab."):
        await lab().value()


async def test_C8_a_concurrent_call_that_outlives_its_object_is_answered_by_the_next_owner(
    local: LocalObjects,
) -> None:
    started, go_on, runs = asyncio.Event(), asyncio.Event(), []

    async def stubborn(obj: Lab) -> str:
        runs.append(1)
        if len(runs) == 1:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await go_on.wait()
        return "late" if len(runs) == 1 else "there"

    await lab().increment()
    call = asyncio.create_task(do_beside(lab(), stubborn))
    await started.wait()
    await local.host.drop_all()
    go_on.set()
    async with asyncio.timeout(DEADLINE):
        assert await call == "there"
