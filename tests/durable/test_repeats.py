"""Calls that reach an owner twice, late, or after their owner died: what was done once is not done again, nor denied."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from durable.cluster.link import Link, connect
from durable.core import codec
from durable.core.envelope import LINK_VERSION, Call, CallId, Hello, Message, Reply, Target
from durable.errors import OverloadedError, RemoteError, UnavailableError
from durable.testing import CrashPoint, LocalObjects
from durable.testing.worker import LocalWorker
from tests.durable.lab import HOOKS, Lab, do, lab, put


class Line:
    """One link of a caller to a worker, used by hand."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.answers: asyncio.Queue[Message] = asyncio.Queue()
        self.ended = asyncio.Event()

    def send(self, stub: Lab, number: int, *, repeat: bool = False) -> None:
        """Send the caller's one call: an increment."""
        target = Target("Lab", str(stub.id), "x")  # type: ignore[attr-defined]
        nothing = codec.encode([[], {}])
        call_id = CallId("a gateway", 0, 7)
        self.link.send(Call(number, target, "increment", nothing, call_id, [], repeat=repeat))

    async def answer(self) -> Any:
        """The value of the next reply."""
        reply = await asyncio.wait_for(self.answers.get(), 5)
        assert isinstance(reply, Reply)
        assert reply.error is None
        return codec.decode(reply.value or b"")


@asynccontextmanager
async def line_to(worker: LocalWorker) -> AsyncIterator[Line]:
    """A link to a worker, always of the same caller."""
    line: Line

    def make() -> Link:
        hello = Hello(LINK_VERSION, "a gateway", "gateway")
        return Link(
            hello,
            received=lambda _, message: line.answers.put_nowait(message),
            opened=lambda _: None,
            closed=lambda _: line.ended.set(),
        )

    address = next(one.address for one in worker.directory.live.values() if one.worker == worker.id)
    connecting = asyncio.create_task(connect(address, make))
    line = Line(await connecting)
    yield line
    line.link.close()


async def test_C6_what_arrives_late_at_an_owner_has_been_done_meanwhile_by_another(
    local: LocalObjects,
) -> None:
    """The call was sent first to the one, whose link then stood still, and again to the other, which did it."""
    stub = lab("x")
    first = local.worker
    await stub.value()
    other = await local.add_worker()
    await local.transfer(stub, to=other)
    async with line_to(first) as slow, line_to(other) as quick:
        quick.send(stub, 1, repeat=True)
        assert await quick.answer() == 1
        await local.transfer(stub, to=first)
        slow.send(stub, 1)
        assert await slow.answer() == 1
    assert await stub.value() == 1


async def test_C6_what_is_left_on_a_link_that_its_caller_has_given_up_is_not_heard(
    local: LocalObjects,
) -> None:
    stub = lab("x")
    async with line_to(local.worker) as old:
        old.send(stub, 1)
        assert await old.answer() == 1
        async with line_to(local.worker) as new:
            new.send(stub, 1, repeat=True)
            assert await new.answer() == 1
            await asyncio.wait_for(old.ended.wait(), 5)
    assert await stub.value() == 1


async def test_C6_a_repeat_that_no_owner_can_take_may_have_been_done(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Any:
        raise UnavailableError("Redis is away")

    await lab().value()
    async with local.crash_at(CrashPoint.BEFORE_RELEASE, lab()):
        monkeypatch.setattr(local.cluster, "claim", refuse)
        with pytest.raises(UnavailableError) as caught:
            await lab().increment()
    assert caught.value.delivered == "unknown"
    monkeypatch.undo()
    assert await lab().value() == 1


async def test_C6_what_no_owner_can_take_when_it_is_first_sent_was_not_done(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> Any:
        raise UnavailableError("Redis is away")

    monkeypatch.setattr(local.cluster, "claim", refuse)
    with pytest.raises(UnavailableError) as caught:
        await lab().increment()
    assert caught.value.delivered == "no"


async def test_C6_a_repeat_gets_its_first_answer_though_the_object_cannot_start_any_more(
    local: LocalObjects,
) -> None:
    def fail(_: Lab) -> None:
        raise LookupError("it does not start")

    async def increment(obj: Lab) -> int:
        HOOKS["start"] = fail
        return await obj.increment()

    async with local.crash_at(CrashPoint.BEFORE_RELEASE, lab()):
        assert await do(lab(), increment) == 1
    with pytest.raises(RemoteError, match="does not start"):
        await lab().value()


async def test_C6_a_repeated_event_whose_call_is_refused_does_not_know_what_the_first_one_did(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the event died after its call had been carried out."""
    verdicts = []

    def full(*_: Any) -> None:
        raise OverloadedError("too many objects are active")

    async def call_the_other(obj: Lab) -> None:
        try:
            await lab("other").increment()
        except OverloadedError as error:
            verdicts.append(error.delivered)
        put(obj, "called", True)

    await lab().value()
    await lab("other").value()
    other = await local.add_worker()
    await local.transfer(lab("other"), to=other)

    async def restart(_: Lab) -> None:
        if str(lab("other").id) in other.host.activations:  # type: ignore[attr-defined]
            await local.evict(lab("other"))
            monkeypatch.setattr(other.host.capacity, "make_room", full)

    async with local.crash_at(CrashPoint.BEFORE_COMMIT, lab()):
        HOOKS["start"] = restart
        await do(lab(), call_the_other)
    assert verdicts == ["unknown"]
    HOOKS.clear()
    monkeypatch.undo()
    assert await lab("other").value() == 1
