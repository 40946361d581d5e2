"""One event at a time, and nothing leaves before it is durable."""

import asyncio
from typing import Any

import pytest

from durable import DurableError, RemoteError
from durable.core import codec
from durable.errors import LostWriteError, ObjectError
from durable.runtime.exports import DELETE
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, do, do_beside, get, lab, put


async def test_G1_concurrent_increments_all_count(local: LocalObjects) -> None:
    await asyncio.gather(*(lab().increment() for _ in range(1000)))
    assert await lab().value() == 1000


async def test_G1_also_when_the_method_waits_in_between(local: LocalObjects) -> None:
    async def slow_increment(obj: Lab) -> None:
        value = get(obj, "value") or 0
        await asyncio.sleep(0)
        put(obj, "value", value + 1)

    await asyncio.gather(*(do(lab(), slow_increment) for _ in range(100)))
    assert await lab().value() == 100


async def test_G2_one_objects_wait_does_not_hold_up_others(local: LocalObjects) -> None:
    go = asyncio.Event()
    waiting = asyncio.create_task(do(lab("slow"), lambda obj: go.wait()))
    assert await lab("quick").increment() == 1
    assert not waiting.done()
    go.set()
    await waiting


async def test_G2_events_run_in_order_of_arrival(local: LocalObjects) -> None:
    order: list[str] = []
    go = asyncio.Event()

    async def first(obj: Lab) -> None:
        await go.wait()
        order.append("first")

    calls = [asyncio.create_task(do(lab(), first))]
    ws_order = [asyncio.create_task(do(lab(), lambda obj, n: order.append(n), str(n))) for n in range(5)]
    await local.settle()
    go.set()
    await asyncio.gather(*calls, *ws_order)
    assert order == ["first", "0", "1", "2", "3", "4"]


async def test_G3_start_completes_before_any_event(local: LocalObjects) -> None:
    order = []

    async def start(obj: Lab) -> None:
        await asyncio.sleep(0)
        order.append("start")

    HOOKS["start"] = start
    await asyncio.gather(*(do(lab(), lambda obj: order.append("event")) for _ in range(3)))
    assert order == ["start", "event", "event", "event"]


async def test_G3_what_start_writes_is_there(local: LocalObjects) -> None:
    HOOKS["start"] = lambda obj: put(obj, "begun", 1)
    assert await do(lab(), get, "begun") == 1
    await local.crash()
    HOOKS.clear()
    assert await do(lab(), get, "begun") == 1


async def test_G3_a_failing_start_tells_who_waits_and_is_tried_again(local: LocalObjects) -> None:
    attempts = []

    def start(obj: Lab) -> None:
        attempts.append(1)
        put(obj, "begun", len(attempts))
        if len(attempts) == 1:
            raise ValueError("not yet")

    HOOKS["start"] = start
    results = await asyncio.gather(lab().increment(), lab().increment(), return_exceptions=True)
    assert [(type(result), str(result)) for result in results] == [(RemoteError, "ValueError: not yet")] * 2
    assert await do(lab(), get, "begun") == 2


async def test_G3_a_start_that_refuses_on_purpose_is_tried_again_too(local: LocalObjects) -> None:
    starts = []

    def start(obj: Lab) -> None:
        starts.append(1)
        if len(starts) < 3:
            raise ObjectError("not yet")

    HOOKS["start"] = start
    for _ in range(2):
        with pytest.raises(RemoteError, match="not yet"):
            await lab().increment()
    assert await lab().increment() == 1
    assert len(starts) == 3


async def test_G3_an_operators_delete_is_carried_out_though_a_call_before_it_cannot_start(
    local: LocalObjects,
) -> None:
    starting, go = asyncio.Event(), asyncio.Event()

    async def start(obj: Lab) -> None:
        starting.set()
        await go.wait()
        raise ValueError("not now")

    await lab().increment()
    await local.evict(lab())
    HOOKS["start"] = start
    call = asyncio.create_task(lab().value())
    await starting.wait()
    delete = asyncio.create_task(local.call(lab().id, DELETE, codec.encode([[], {}])))  # type: ignore[attr-defined]
    await local.settle()
    go.set()
    with pytest.raises(RemoteError, match="not now"):
        await call
    assert codec.decode(await delete) is True
    HOOKS.clear()
    assert await lab().value() == 0


async def test_C6_who_is_repeated_behind_a_call_that_cannot_start_gets_the_first_answer(
    local: LocalObjects,
) -> None:
    def start(obj: Lab) -> None:
        raise ValueError("not now")

    await lab().increment()
    with local.commits.held():
        read = asyncio.create_task(do(lab(), get, "value"))
        first = asyncio.create_task(lab().increment())
        await local.commits.waiting()
        reader = asyncio.create_task(lab().value())
        second = asyncio.create_task(lab().increment())
        await local.settle()
        HOOKS["start"] = start
        await local.crash()
    assert await read == 1
    assert await first == 2
    with pytest.raises(RemoteError, match="not now"):
        await reader
    assert await second == 3


async def test_G3_who_waited_for_a_start_that_was_cut_off_is_served_by_the_next_one(
    local: LocalObjects,
) -> None:
    starts, starting, go = [], asyncio.Event(), asyncio.Event()

    async def start(obj: Lab) -> None:
        starts.append(1)
        if len(starts) == 2:
            starting.set()
            await go.wait()

    HOOKS["start"] = start
    local.commits.hold()
    write = asyncio.create_task(lab().increment())
    await local.commits.waiting()
    local.commits.pass_through()
    abort = asyncio.create_task(do(lab(), lambda obj: obj.ctx.abort()))  # the next event has to start anew
    read = asyncio.create_task(lab().value())
    await starting.wait()
    local.commits.fail()
    local.commits.release()  # the write is lost while start runs: this incarnation ends
    for call in (write, abort):
        with pytest.raises(DurableError):
            await call
    go.set()
    assert await read in (0, 1)


async def test_G4_a_reply_waits_until_its_write_is_durable(local: LocalObjects) -> None:
    with local.commits.held():
        reply = asyncio.create_task(lab().increment())
        await local.commits.waiting()
        await local.settle()
        assert not reply.done()
    assert await reply == 1


async def test_G4_a_frame_and_a_close_wait_until_the_write_is_durable(local: LocalObjects) -> None:
    ws, other = await local.connect(lab()), await local.connect(lab())

    def write_send_close(obj: Lab) -> None:
        put(obj, "key", 1)
        one, two = obj.ctx.get_web_sockets()
        one.send("hello")
        two.close(4000, "bye")

    with local.commits.held():
        call = asyncio.create_task(do(lab(), write_send_close))
        await local.commits.waiting()
        await local.settle()
        assert (ws.take(), other.close_code) == ([], None)
    await call
    assert (await other.closed(), ws.take()) == (4000, ["hello"])


async def test_G4_an_outgoing_call_waits_until_the_write_before_it_is_durable(local: LocalObjects) -> None:
    arrived = []

    async def write_then_call(obj: Lab) -> None:
        put(obj, "key", 1)
        await do(lab("other"), lambda obj: arrived.append(1))

    await lab("other").value()
    with local.commits.held():
        call = asyncio.create_task(do(lab(), write_then_call))
        await local.commits.waiting()
        await local.settle()
        assert not arrived
    await call
    assert arrived


async def test_G4_each_of_several_outgoing_calls_waits_until_the_write_is_durable(
    local: LocalObjects,
) -> None:
    arrived = []
    await asyncio.gather(lab("one").value(), lab("other").value())

    async def write_then_call(obj: Lab) -> None:
        put(obj, "key", 1)
        await asyncio.gather(*(do(lab(name), lambda obj: arrived.append(1)) for name in ("one", "other")))

    with local.commits.held():
        call = asyncio.create_task(do(lab(), write_then_call))
        await local.commits.waiting()
        await local.settle()
        assert not arrived
    await call
    assert arrived == [1, 1]


async def test_G4_when_the_commit_fails_nothing_leaves_and_callers_are_told(local: LocalObjects) -> None:
    ws = await local.connect(lab())

    def write_and_send(obj: Lab) -> None:
        put(obj, "key", 1)
        obj.ctx.broadcast("never")

    local.commits.hold()
    calls = [asyncio.create_task(do(lab(), write_and_send)), asyncio.create_task(lab().value())]
    await local.commits.waiting()
    local.commits.fail()
    local.commits.release()
    for call in calls:
        with pytest.raises(LostWriteError) as caught:
            await call
        assert caught.value.delivered == "unknown"
    await local.settle()
    assert "never" not in ws.take()


async def test_G4_when_the_commit_fails_the_instance_is_discarded(local: LocalObjects) -> None:
    starts = []
    HOOKS["start"] = lambda obj: starts.append(1)
    await lab().increment()
    local.commits.fail()
    with pytest.raises(LostWriteError):
        await lab().increment()
    assert await lab("other").increment() == 1  # others go on
    starts.clear()
    await lab().value()
    assert starts == [1]


async def test_G5_a_reader_of_an_uncommitted_write_waits_for_it(local: LocalObjects) -> None:
    with local.commits.held():
        write = asyncio.create_task(lab().increment())
        await local.commits.waiting()
        read = asyncio.create_task(lab().value())
        await local.settle()
        assert not read.done()
    assert (await write, await read) == (1, 1)


async def test_G5_a_call_by_who_read_an_uncommitted_write_waits_for_it(local: LocalObjects) -> None:
    told = []
    await lab("other").value()

    async def read_then_call(obj: Lab) -> None:
        value = get(obj, "value")
        await do(lab("other"), lambda obj: told.append(value))

    with local.commits.held():
        write = asyncio.create_task(lab().increment())
        await local.commits.waiting()
        read = asyncio.create_task(do(lab(), read_then_call))
        for _ in range(3):  # it arrives, it calls, that arrives
            await local.settle()
        assert not told
    await asyncio.gather(write, read)
    assert told == [1]


async def test_G5_a_call_by_a_concurrent_method_waits_for_what_it_could_have_seen(
    local: LocalObjects,
) -> None:
    told = []
    await lab("other").value()
    await lab().value()

    async def tell(obj: Lab) -> None:
        value = obj.seen  # type: ignore[attr-defined]
        await do(lab("other"), lambda obj: told.append(value))

    def see(obj: Lab) -> None:
        obj.seen = 1  # type: ignore[attr-defined]
        put(obj, "seen", 1)

    with local.commits.held():
        write = asyncio.create_task(do(lab(), see))
        await local.commits.waiting()
        call = asyncio.create_task(do_beside(lab(), tell))
        for _ in range(3):  # it arrives, it calls, that arrives
            await local.settle()
        assert not told
    await asyncio.gather(write, call)
    assert told == [1]


async def test_G5_a_concurrent_method_that_a_waiting_event_waits_for_can_call_others(
    local: LocalObjects,
) -> None:
    async def write_and_wait(obj: Lab) -> Any:
        put(obj, "key", 1)
        return await do(lab("between"), come_back)

    async def come_back(obj: Lab) -> Any:
        return await do_beside(lab(), lambda obj: lab("other").increment())

    with local.commits.held():
        call = asyncio.create_task(do(lab(), write_and_wait))
        await local.commits.waiting()
    assert await call == 1


async def test_G6_a_call_after_a_takeover_waits_for_what_was_left_unsynced(local: LocalObjects) -> None:
    told: list[int] = []
    await asyncio.gather(lab().increment(), lab("other").value())

    async def start(obj: Lab) -> None:
        if obj.ctx.id.name == "lab" and get(obj, "value") == 2:
            await do(lab("other"), lambda obj: told.append(2))

    local.commits.hold()
    write = asyncio.create_task(lab().increment())
    await local.commits.waiting()
    HOOKS["start"] = start
    await local.crash()
    await local.commits.waiting()  # the new owner syncs what it found
    read = asyncio.create_task(lab().value())
    for _ in range(3):  # it arrives, `start` calls, that arrives
        await local.settle()
    assert not told
    local.commits.release()
    assert (await write, await read) == (2, 2)
    assert told == [2]


async def test_G5_a_later_write_does_not_delay_a_reader(local: LocalObjects) -> None:
    await lab().increment()
    read = asyncio.create_task(lab().value())
    local.commits.hold()
    write = asyncio.create_task(lab().increment())
    assert await read == 1
    await local.commits.waiting()
    assert not write.done()
    local.commits.release()
    assert await write == 2


async def test_G5_the_next_event_starts_before_the_write_is_durable(local: LocalObjects) -> None:
    seen = []
    with local.commits.held():
        calls = [asyncio.create_task(lab().increment())]
        await local.commits.waiting()
        calls.append(asyncio.create_task(do(lab(), lambda obj: seen.append(get(obj, "value")))))
        await local.settle()
        assert seen == [1]
    await asyncio.gather(*calls)


async def test_G6_a_pure_read_causes_no_commit_and_no_sync(local: LocalObjects) -> None:
    await lab().increment()
    store = local.host.activations[str(lab().id)].gate.store  # type: ignore[attr-defined]
    before = (store.transactions.seq, local.commits.syncs)
    for _ in range(5):
        await lab().value()
    assert (store.transactions.seq, local.commits.syncs) == before


async def test_G6_a_read_of_an_object_that_never_wrote_makes_nothing(local: LocalObjects) -> None:
    await lab().value()
    assert local.commits.syncs == 0
    assert not local.has_file(lab())


async def test_G6_the_first_output_after_a_takeover_waits_for_what_was_left_unsynced(
    local: LocalObjects,
) -> None:
    local.commits.hold()
    write = asyncio.create_task(lab().increment())
    await local.commits.waiting()
    await local.crash()
    await local.commits.waiting()  # the new owner syncs what it found
    read = asyncio.create_task(lab().value())
    await local.settle()
    assert not read.done()
    local.commits.release()
    assert (await read, await write) == (1, 1)


async def test_G7_all_that_an_event_wrote_is_one_commit(local: LocalObjects) -> None:
    ws = await local.connect(lab())
    await lab().increment()
    store = local.host.activations[str(lab().id)].gate.store  # type: ignore[attr-defined]
    before = store.transactions.seq

    def write_everything(obj: Lab) -> None:
        put(obj, "key", 1)
        obj.ctx.storage.sql.exec("CREATE TABLE t (x)")
        obj.ctx.storage.sql.exec("INSERT INTO t VALUES (1)")
        obj.ctx.storage.set_alarm(obj.ctx.now() + 60_000)
        obj.ctx.get_web_sockets()[0].attachment = "mark"

    await do(lab(), write_everything)
    assert store.transactions.seq == before + 1
    await local.crash()

    def read_everything(obj: Lab) -> list[Any]:
        storage = obj.ctx.storage
        attachment = obj.ctx.get_web_sockets()[0].attachment
        return [
            get(obj, "key"),
            storage.sql.exec("SELECT x FROM t").one()[0],
            storage.get_alarm() is not None,
            attachment,
        ]

    assert await do(lab(), read_everything) == [1, 1, True, "mark"]
    assert ws.is_open


async def test_G7_an_owner_that_died_in_the_middle_left_nothing_of_the_event(local: LocalObjects) -> None:
    started, attempts = asyncio.Event(), []

    async def write_half(obj: Lab) -> Any:
        attempts.append([get(obj, "first"), get(obj, "second")])
        put(obj, "first", 1)
        if len(attempts) == 1:
            started.set()
            await asyncio.Event().wait()
        put(obj, "second", 1)

    call = asyncio.create_task(do(lab(), write_half))
    await started.wait()
    await local.crash()
    await call
    assert attempts == [[None, None], [None, None]]


async def test_G8_flush_makes_what_came_before_durable_and_releases_it(local: LocalObjects) -> None:
    ws, go = await local.connect(lab()), asyncio.Event()

    async def two_segments(obj: Lab) -> str:
        put(obj, "key", 1)
        obj.ctx.broadcast("first")
        await obj.ctx.flush()
        await go.wait()
        obj.ctx.broadcast("second")
        return "done"

    call = asyncio.create_task(do(lab(), two_segments))
    assert await ws.receive() == "first"
    assert not call.done()
    go.set()
    assert await call == "done"
    assert ws.take() == ["second"]


async def test_G8_flush_waits_until_it_is_durable(local: LocalObjects) -> None:
    flushed = []

    async def flush(obj: Lab) -> None:
        put(obj, "key", 1)
        await obj.ctx.flush()
        flushed.append(1)

    with local.commits.held():
        call = asyncio.create_task(do(lab(), flush))
        await local.commits.waiting()
        await local.settle()
        assert not flushed
    await call
    assert flushed


async def test_G8_when_a_flush_fails_the_event_does_not_go_on(local: LocalObjects) -> None:
    went_on = []

    async def flush(obj: Lab) -> None:
        put(obj, "key", 1)
        await obj.ctx.flush()
        went_on.append(1)

    local.commits.fail()
    with pytest.raises(DurableError) as caught:
        await do(lab(), flush)
    assert caught.value.delivered == "unknown"
    assert not went_on


async def test_G9_objects_do_not_wait_for_each_others_commits(local: LocalObjects) -> None:
    local.commits.hold()
    held = asyncio.create_task(lab("held").increment())
    await local.commits.waiting()
    local.commits.pass_through()
    assert await lab("free").increment() == 1
    assert not held.done()
    local.commits.release()
    assert await held == 1
