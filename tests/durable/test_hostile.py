"""Hostile classes: each ends in a documented error, harms no other object, and the object lives on."""

import asyncio
import builtins
import os
import re
import resource
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable import AlarmInfo, DurableObject, RemoteError, errors
from durable.conf import DurableSettings
from durable.errors import (
    DurableError,
    EventTimeoutError,
    SocketError,
    StorageOutsideEventError,
)
from durable.testing import LocalObjects
from durable.testing.fleet import DEADLINE
from tests.durable.lab import HOOKS, Lab, SmallLab, do, do_beside, fails, get, lab, leave_a_trace, put

# -- classes


def endless(obj: Lab) -> None:
    leave_a_trace(obj)
    endless(obj)


def nested_transactions(obj: Lab) -> None:
    with obj.ctx.storage.transaction():
        leave_a_trace(obj)
        nested_transactions(obj)


async def endless_waits(obj: Lab) -> None:
    leave_a_trace(obj)
    await endless_waits(obj)


@pytest.mark.parametrize("step", [endless, nested_transactions, endless_waits])
async def test_C4_endless_recursion_arrives_as_a_recursion_error(
    local: LocalObjects, step: Callable[[Lab], Any]
) -> None:
    error = await fails(step)
    assert isinstance(error, RemoteError)
    assert error.error_type == "RecursionError"


async def wait() -> None:
    """What a loop of its own is to run."""


def own_loop(obj: Lab) -> None:
    leave_a_trace(obj)
    coroutine = wait()
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


def second_loop(obj: Lab) -> None:
    leave_a_trace(obj)
    loop, coroutine = asyncio.new_event_loop(), wait()
    try:
        loop.run_until_complete(coroutine)
    finally:
        coroutine.close()
        loop.close()


def same_loop(obj: Lab) -> None:
    leave_a_trace(obj)
    coroutine = wait()
    try:
        asyncio.get_running_loop().run_until_complete(coroutine)
    finally:
        coroutine.close()


@pytest.mark.parametrize("step", [own_loop, second_loop, same_loop])
async def test_C4_a_loop_of_its_own_is_refused_with_a_runtime_error(
    local: LocalObjects, step: Callable[[Lab], Any]
) -> None:
    error = await fails(step)
    assert isinstance(error, RemoteError)
    assert error.error_type == "RuntimeError"
    assert "loop" in error.message


ENDS = [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException, asyncio.CancelledError]


@pytest.mark.parametrize("kind", ENDS)
async def test_C4_what_would_end_a_program_ends_the_event_only(
    local: LocalObjects, kind: type[BaseException]
) -> None:
    async def leave(obj: Lab) -> None:
        leave_a_trace(obj)
        await asyncio.sleep(0)
        raise kind("out")

    error = await fails(leave)
    assert isinstance(error, RemoteError)
    assert error.error_type == kind.__name__


@pytest.mark.parametrize("kind", ENDS)
async def test_C4_what_would_end_a_program_ends_a_concurrent_event_only(
    local: LocalObjects, kind: type[BaseException]
) -> None:
    async def leave(obj: Lab) -> None:
        await asyncio.sleep(0)
        raise kind("out")

    await lab().increment()
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            await do_beside(lab(), leave)
        assert caught.value.error_type == kind.__name__
    assert await lab().increment() == 2


async def cancelled(*_: Any) -> None:
    """Waits for what has been cancelled."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


async def test_C4_a_cancellation_that_a_handler_lets_out_fails_its_event_only(local: LocalObjects) -> None:
    runs = []

    async def wait_for_cancelled(obj: Lab) -> None:
        runs.append(1)
        leave_a_trace(obj)
        await cancelled()

    error = await fails(wait_for_cancelled)
    assert isinstance(error, RemoteError)
    assert (error.error_type, runs) == ("CancelledError", [1])


async def test_G3_a_start_that_lets_a_cancellation_out_has_failed(local: LocalObjects) -> None:
    HOOKS["start"] = cancelled
    with pytest.raises(RemoteError, match="CancelledError"):
        await lab().increment()
    HOOKS.clear()
    assert await lab().increment() == 1


async def test_A4_an_alarm_that_lets_a_cancellation_out_has_failed(local: LocalObjects) -> None:
    retries = []

    async def alarm(obj: Lab, info: AlarmInfo) -> None:
        retries.append(info.retry_count)
        if not info.retry_count:
            await cancelled()

    HOOKS["alarm"] = alarm
    await do(lab(), lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 1000))
    for _ in range(2):
        assert await local.run_alarm(lab())
    assert retries == [0, 1]


async def cancel_itself(*_: Any) -> None:
    """Waits once its own task is cancelled."""
    own_task().cancel()
    await asyncio.sleep(60)


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize("call", [do, do_beside])
async def test_C4_a_handler_that_cancels_its_own_task_fails_once(local: LocalObjects, call: Any) -> None:
    runs = []

    async def run(obj: Lab) -> None:
        runs.append(1)
        await cancel_itself()

    await lab().increment()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(RemoteError) as caught:
            await call(lab(), run)
    assert (caught.value.error_type, runs) == ("CancelledError", [1])
    assert await lab().increment() == 2


async def test_G3_a_start_that_cancels_its_own_task_has_failed(local: LocalObjects) -> None:
    HOOKS["start"] = cancel_itself
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(RemoteError, match="CancelledError"):
            await lab().increment()
    HOOKS.clear()
    assert await lab().increment() == 1


async def test_C4_a_handler_that_cancels_its_own_task_and_ends_harms_no_later_event(
    local: LocalObjects,
) -> None:
    async def cancel(obj: Lab) -> None:
        own_task().cancel()

    incarnations = []
    HOOKS["start"] = lambda obj: incarnations.append(1)
    await asyncio.gather(do(lab(), cancel), do(lab(), lambda obj: asyncio.sleep(0)))
    assert await lab().increment() == 1
    assert incarnations == [1]


async def test_C10_the_cancellations_that_an_event_took_no_notice_of_end_with_it(local: LocalObjects) -> None:
    stub, started, ticks = lab(kind=SmallLab), asyncio.Event(), 0

    async def stubborn(obj: Lab) -> None:
        nonlocal ticks
        started.set()
        while ticks < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ticks += 1

    call = asyncio.create_task(do(stub, stubborn))
    await started.wait()
    while ticks < 3:
        await local.advance(6)
    with pytest.raises(EventTimeoutError):
        await call
    assert await do(stub, lambda obj: own_task().cancelling()) == 0


async def test_C4_an_object_whose_task_the_loop_cancels_at_its_end_ends_too(local: LocalObjects) -> None:
    started = asyncio.Event()

    async def wait(obj: Lab) -> None:
        started.set()
        await asyncio.sleep(60)

    call = asyncio.create_task(do(lab(), wait))
    await started.wait()
    activation = local.host.activations[str(lab().id)]  # type: ignore[attr-defined]
    activation.task.cancel()
    async with asyncio.timeout(DEADLINE):
        await activation.task
    with pytest.raises(RemoteError, match="CancelledError"):
        await call


async def test_W5_a_frame_whose_handler_lets_a_cancellation_out_is_handled_once(local: LocalObjects) -> None:
    frames = []

    async def message(obj: Lab, ws: Any, message: str) -> None:
        frames.append(message)
        if message == "bad":
            await cancelled()

    HOOKS["message"] = message
    ws = await local.connect(lab())
    ws.post("bad")
    await ws.send("good")
    assert frames == ["bad", "good"]


async def test_C4_an_error_that_cannot_say_what_it_is_arrives_nevertheless(local: LocalObjects) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    def fail(obj: Lab) -> None:
        leave_a_trace(obj)
        raise MuteError

    error = await fails(fail)
    assert isinstance(error, RemoteError)
    assert error.error_type == "MuteError"


def open_for_ever(obj: Lab) -> None:
    leave_a_trace(obj)
    files: list[int] = []
    try:
        while True:
            files.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for file in files:
            os.close(file)


async def test_C4_opening_files_without_end_arrives_as_an_os_error(local: LocalObjects) -> None:
    await lab().increment()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
    try:
        error = await fails(open_for_ever)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(error, RemoteError)
    assert error.error_type == "OSError"


# -- tasks left behind


async def test_S7_a_task_left_behind_has_no_storage_and_no_sockets_after_its_event(
    local: LocalObjects,
) -> None:
    client = await local.connect(lab())
    go, outcomes = asyncio.Event(), []

    async def later(obj: Lab) -> None:
        await go.wait()
        for use in (
            lambda: put(obj, "trace", 1),
            lambda: obj.ctx.storage.sql.exec("CREATE TABLE t (x)"),
            lambda: obj.ctx.storage.set_alarm(0),
            lambda: obj.ctx.broadcast("late"),
            lambda: obj.ctx.get_web_sockets()[0].close(),
        ):
            try:
                use()
            except DurableError as error:
                outcomes.append(type(error))

    left: list[asyncio.Task[None]] = []

    def leave_behind(obj: Lab) -> None:
        left.append(asyncio.create_task(later(obj)))

    await do(lab(), leave_behind)
    running, hold = asyncio.Event(), asyncio.Event()

    async def another(obj: Lab) -> None:
        running.set()
        await hold.wait()

    busy = asyncio.create_task(do(lab(), another))  # not even while another event runs
    await running.wait()
    go.set()
    await left[0]
    hold.set()
    await busy
    assert outcomes == [StorageOutsideEventError] * 3 + [SocketError] * 2
    await local.settle()
    assert (client.take(), client.is_open) == ([], True)
    assert await do(lab(), get, "trace") is None
    assert local.alarm(lab()) is None


async def test_C7_a_task_left_behind_by_a_concurrent_method_has_no_sockets(local: LocalObjects) -> None:
    client = await local.connect(lab())
    go, left = asyncio.Event(), []

    async def later(obj: Lab) -> None:
        await go.wait()
        obj.ctx.broadcast("late")

    async def leave_behind(obj: Lab) -> None:
        left.append(asyncio.create_task(later(obj)))
        obj.ctx.broadcast("in time")

    await do_beside(lab(), leave_behind)
    go.set()
    with pytest.raises(SocketError, match="left behind"):
        await left[0]
    await local.settle()
    assert client.take() == ["in time"]


async def test_S7_a_thread_left_behind_has_no_storage(local: LocalObjects) -> None:
    refused = []

    def use(obj: Lab) -> None:
        def work() -> None:
            try:
                put(obj, "trace", 1)
            except DurableError as error:
                refused.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    await do(lab(), use)
    assert refused == [StorageOutsideEventError]
    assert await do(lab(), get, "trace") is None


# -- monkeypatching


class Other(Lab, abstract=True):
    """What an object may pretend to be."""

    async def web_socket_message(self, ws: Any, message: Any) -> None:
        ws.send("other")


async def test_C5_an_object_that_has_lost_its_context_fails_once_and_is_made_anew(
    local: LocalObjects,
) -> None:
    await lab().increment()

    def forget(obj: Lab) -> None:
        obj.ctx = None  # type: ignore[assignment]

    await do(lab(), forget)
    with pytest.raises(RemoteError, match="AttributeError"):
        await lab().increment()
    assert await lab().increment() == 2


async def test_C5_parts_of_the_context_cannot_be_replaced_for_good(local: LocalObjects) -> None:
    def replace_a_method(obj: Lab) -> None:
        obj.ctx.storage.put = None  # type: ignore[assignment, method-assign]

    error = await fails(replace_a_method)
    assert isinstance(error, RemoteError)
    assert error.error_type == "AttributeError"

    def replace_the_storage(obj: Lab) -> None:
        obj.ctx.storage = None  # type: ignore[assignment]
        obj.ctx.storage.get("x")

    error = await fails(replace_the_storage)
    assert isinstance(error, RemoteError)
    assert error.error_type == "AttributeError"

    def replace_the_sql(obj: Lab) -> None:
        obj.ctx.storage.sql = None  # type: ignore[assignment]
        obj.ctx.storage.sql.exec("SELECT 1")

    assert isinstance(await fails(replace_the_sql), RemoteError)
    assert await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT 1").one()) == (1,)


async def test_C3_methods_patched_on_the_instance_or_its_class_change_no_call(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lie(self: Any = None) -> int:
        return 666

    monkeypatch.setattr(Lab, "value", Lab.value)  # as it was, after the test

    def patch(obj: Lab) -> None:
        obj.value = lie  # type: ignore[method-assign]
        type(obj).value = lie  # type: ignore[method-assign, assignment]
        type(obj).durable_methods = type(obj)._methods = None  # type: ignore[attr-defined]

    try:
        await lab().increment()
        await do(lab(), patch)
        assert await lab().value() == 1
        assert await lab("neighbour").increment() == 1
    finally:
        del Lab.durable_methods, Lab._methods  # type: ignore[attr-defined]


async def test_C5_an_object_that_changes_its_class_is_itself_again_after_sleep(local: LocalObjects) -> None:
    HOOKS["message"] = lambda obj, ws, message: ws.send("lab")
    client = await local.connect(lab())

    def pretend(obj: Lab) -> None:
        obj.__class__ = Other

    await do(lab(), pretend)
    await client.send("who?")
    assert await client.receive() == "other"  # as Python has it
    assert await lab().increment() == 1
    await local.evict(lab())
    await client.send("who?")
    assert await client.receive() == "lab"


async def test_C3_a_class_that_changes_its_key_keeps_its_objects(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, neighbour = lab(), lab("neighbour")
    monkeypatch.setattr(Lab, "key", Lab.key)

    def rename(obj: Lab) -> None:
        type(obj).key = "Stolen"

    await do(stub, rename)
    assert await stub.increment() == 1
    await local.evict(stub)
    assert await stub.increment() == 2
    assert await neighbour.increment() == 1
    assert {entry.key for entry in local.catalog.entries.values()} == {"Lab"}


async def test_C5_limits_patched_to_nonsense_harm_their_class_only(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unruly, "max_queue", "many")
    with pytest.raises(DurableError, match="TypeError"):
        await asyncio.gather(*(Unruly.namespace.get_by_name("u").hello() for _ in range(3)))
    assert await lab().increment() == 1


class Unruly(DurableObject):
    """Has attributes that no class can have."""

    async def hello(self) -> str:
        return "hello"


class HalfMade(DurableObject):
    """Does not make itself as the runtime asks."""

    def __init__(self) -> None:
        pass

    async def hello(self) -> str:
        return "hello"


async def test_G3_a_class_that_cannot_be_made_says_so_to_each_caller(local: LocalObjects) -> None:
    for _ in range(2):
        with pytest.raises(RemoteError, match="__init__"):
            await HalfMade.namespace.get_by_name("h").hello()  # type: ignore[call-arg]
    assert await lab().increment() == 1


def test_every_error_that_the_page_names_exists() -> None:
    page = (Path(__file__).parents[2] / "docs/hostile.md").read_text()
    named = set(re.findall(r"`(\w*(?:Error|Exit|Interrupt))`", page))
    assert len(named) > 12
    assert [name for name in named if not hasattr(errors, name) and not hasattr(builtins, name)] == []


def test_every_setting_that_the_page_names_exists() -> None:
    page = (Path(__file__).parents[2] / "docs/hostile.md").read_text()
    named = set(re.findall(r"`((?:worker|blocking|event)_\w+)`", page))
    assert named == {name for name in named if name in DurableSettings.__dataclass_fields__} != set()
