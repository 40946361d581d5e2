"""WebSockets of objects: frames, sleep, takeovers, limits, closes and broadcasts."""

import asyncio
import contextlib
from typing import Any

import pytest

from durable import RemoteError
from durable.core.envelope import Vanished
from durable.errors import DurableError, OverloadedError, SocketError, UnavailableError
from durable.runtime.capacity import Capacity
from durable.testing import LocalObjects
from durable.testing.fleet import DEADLINE
from durable.testing.gateway import LocalGateway
from tests.durable.lab import HOOKS, Lab, SmallLab, do, get, lab, put


def echo(obj: Lab, ws: Any, message: Any) -> None:
    ws.send(message)


async def sockets_of(stub: Lab) -> list[str]:
    """The sockets that the object lists."""
    return await do(stub, lambda obj: [ws.id for ws in obj.ctx.get_web_sockets()])  # type: ignore[no-any-return]


async def test_W1_text_and_binary_arrive_once_as_what_they_are(local: LocalObjects) -> None:
    arrived = []
    HOOKS["message"] = lambda obj, ws, message: arrived.append(message)
    ws = await local.connect(lab())
    await ws.send("text 🦉")
    await ws.send(b"\0\xff")
    assert arrived == ["text 🦉", b"\0\xff"]


async def test_W1_frames_of_one_socket_are_handled_in_order(local: LocalObjects) -> None:
    arrived = []

    async def slow(obj: Lab, ws: Any, message: Any) -> None:
        await asyncio.sleep(0)
        arrived.append(message)

    HOOKS["message"] = slow
    ws = await local.connect(lab())
    for n in range(50):
        ws.post(str(n))
    await ws.handled()
    assert arrived == [str(n) for n in range(50)]


async def test_W1_a_frame_that_wrote_before_its_owner_died_takes_effect_once(local: LocalObjects) -> None:
    HOOKS["message"] = lambda obj, ws, message: put(obj, "count", (get(obj, "count") or 0) + 1)
    ws = await local.connect(lab())
    local.commits.hold()
    for _ in range(5):
        ws.post("x")
    await local.commits.waiting()
    await local.crash()
    local.commits.release()
    await ws.handled()
    assert await do(lab(), get, "count") == 5


async def test_W1_what_a_hook_sees_of_a_socket(local: LocalObjects) -> None:
    seen = []
    HOOKS["message"] = lambda obj, ws, message: seen.append([ws.id, ws.url, ws.user, ws.headers])
    ws = await local.connect(lab(), user={"id": "u1"}, url="/ws/x?a=b", headers={"origin": "here"})
    await ws.send("x")
    await local.crash()
    await ws.send("x")
    assert seen == [[ws.id, "/ws/x?a=b", {"id": "u1"}, {"origin": "here"}]] * 2


async def test_W1_a_socket_that_is_not_accepted_is_closed(local: LocalObjects) -> None:
    HOOKS["connect"] = lambda obj, ws: None
    ws = await local.connect(lab())
    assert (ws.is_open, ws.close_code) == (False, 4403)


async def test_W1_an_object_may_refuse_with_a_code_of_its_own(local: LocalObjects) -> None:
    HOOKS["connect"] = lambda obj, ws: ws.close(4404, "no such room")
    ws = await local.connect(lab())
    assert (ws.is_open, ws.close_code, ws.close_reason) == (False, 4404, "no such room")


async def test_W1_a_connect_hook_that_raises_closes_the_socket(local: LocalObjects) -> None:
    def fail(obj: Lab, ws: Any) -> None:
        obj.ctx.accept_web_socket(ws)
        raise ValueError("no")

    HOOKS["connect"] = fail
    ws = await local.connect(lab())
    assert (ws.is_open, ws.close_code) == (False, 1011)
    assert await do(lab(), lambda obj: obj.ctx.get_web_sockets()) == []


async def test_W1_an_accept_leaves_when_it_is_durable(local: LocalObjects) -> None:
    with local.commits.held():
        opening = asyncio.create_task(local.connect(lab()))
        await local.commits.waiting()
        await local.settle()
        assert not opening.done()
    assert (await opening).is_open


async def test_W2_the_next_frame_wakes_the_object_on_the_same_connection(local: LocalObjects) -> None:
    order = []
    HOOKS["start"] = lambda obj: order.append("start")
    HOOKS["resume"] = lambda obj: order.append("resume")

    def message(obj: Lab, ws: Any, message: Any) -> None:
        order.append([message, ws.tags, ws.attachment, len(obj.ctx.get_web_sockets("red"))])

    def connect(obj: Lab, ws: Any) -> None:
        obj.ctx.accept_web_socket(ws, ["red", "round"])
        ws.attachment = {"name": "Alice"}

    HOOKS["connect"], HOOKS["message"] = connect, message
    ws = await local.connect(lab())
    await local.advance(11)
    assert not local.is_active(lab())
    await ws.send("hello")
    assert order == ["start", "start", ["hello", ["red", "round"], {"name": "Alice"}, 1]]


async def test_W2_sockets_are_listed_in_the_order_in_which_they_came_also_after_sleep(
    local: LocalObjects,
) -> None:
    came = []
    for _ in range(6):  # in one millisecond, each through a gateway of another name
        came.append((await local.connect(lab())).id)
        await local.add_gateway()
    for _ in range(2):
        assert await do(lab(), lambda obj: [ws.id for ws in obj.ctx.get_web_sockets()]) == came
        await local.evict(lab())


async def test_W3_sockets_stay_open_when_the_owner_dies_and_resume_runs_once_first(
    local: LocalObjects,
) -> None:
    order = []

    def resume(obj: Lab) -> None:
        order.append("resume")
        obj.ctx.broadcast("where we stand")

    HOOKS["message"] = lambda obj, ws, message: order.append(message)
    ws, other = await local.connect(lab()), await local.connect(lab())
    HOOKS["resume"] = resume
    await local.crash()
    for n in range(3):
        ws.post(str(n))
    await ws.handled()
    await local.settle()
    assert order == ["resume", "0", "1", "2"]
    assert (ws.take(), other.take()) == (["where we stand"], ["where we stand"])
    assert ws.is_open
    assert other.is_open


async def test_W3_an_active_objects_sockets_are_resumed_though_nobody_sends(local: LocalObjects) -> None:
    HOOKS["resume"] = lambda obj: obj.ctx.broadcast("where we stand")
    ws = await local.connect(lab())
    await local.crash()
    assert await ws.receive() == "where we stand"


async def test_W3_frames_sent_while_the_owner_dies_are_handled_in_order(local: LocalObjects) -> None:
    def note(obj: Lab, ws: Any, message: Any) -> None:
        put(obj, "all", [*(get(obj, "all") or []), message])

    HOOKS["message"] = note
    ws = await local.connect(lab())
    for n in range(40):
        ws.post(str(n))
    await local.crash()
    for n in range(40, 50):
        ws.post(str(n))
    await ws.handled()
    assert await do(lab(), get, "all") == [str(n) for n in range(50)]


async def test_W3_sockets_stay_open_through_a_new_version(local: LocalObjects) -> None:
    HOOKS["message"] = echo
    ws = await local.connect(lab())
    await local.redeploy()
    await ws.send("still here?")
    assert ws.take() == ["still here?"]


@pytest.mark.parametrize("tags", [[str(n) for n in range(11)], ["x" * 257], [""], "text", [5]], ids=repr)
async def test_W4_tags_beyond_the_limits_are_refused(local: LocalObjects, tags: Any) -> None:
    errors = []

    def connect(obj: Lab, ws: Any) -> None:
        with pytest.raises(SocketError) as caught:
            obj.ctx.accept_web_socket(ws, tags)
        errors.append(str(caught.value))

    HOOKS["connect"] = connect
    await local.connect(lab())
    assert len(errors) == 1


async def test_W4_ten_tags_of_256_characters_work(local: LocalObjects) -> None:
    tags = [f"{n}" * 256 for n in range(10)]
    HOOKS["connect"] = lambda obj, ws: obj.ctx.accept_web_socket(ws, tags)
    assert (await local.connect(lab())).is_open
    assert await do(lab(), lambda obj: obj.ctx.get_web_sockets(tags[9])[0].tags) == tags


async def test_W4_an_attachment_has_at_most_16_KiB(local: LocalObjects) -> None:
    await local.connect(lab())

    def attach(obj: Lab, size: int) -> int:
        (ws,) = obj.ctx.get_web_sockets()
        ws.attachment = b"x" * size
        return len(ws.attachment)

    most = 16 * 1024 - 4  # the encoding of bytes takes four more
    assert await do(lab(), attach, most) == most
    with pytest.raises(SocketError):
        await do(lab(), attach, most + 1)
    assert await do(lab(), lambda obj: len(obj.ctx.get_web_sockets()[0].attachment)) == most


@pytest.mark.parametrize("size", [10, 5000])
async def test_W4_an_attachment_is_what_the_file_has_whatever_is_taken_back(
    local: LocalObjects, size: int
) -> None:
    class MineError(Exception):
        pass

    def attached(obj: Lab) -> Any:
        (ws,) = obj.ctx.get_web_sockets()
        return ws.attachment and ws.attachment["text"][-1]

    def attach(obj: Lab, text: str) -> None:
        (ws,) = obj.ctx.get_web_sockets()
        ws.attachment = {"text": "." * size + text}

    def attach_in_vain(obj: Lab) -> Any:
        with contextlib.suppress(MineError), obj.ctx.storage.transaction():
            attach(obj, "b")
            assert attached(obj) == "b"
            raise MineError
        return attached(obj)

    def fail(obj: Lab) -> None:
        attach(obj, "c")
        raise MineError

    await local.connect(lab())
    assert await do(lab(), attached) is None
    await do(lab(), attach, "a")
    assert await do(lab(), attached) == "a"
    assert await do(lab(), attach_in_vain) == "a"
    with pytest.raises(RemoteError):
        await do(lab(), fail)
    assert await do(lab(), attached) == "a"

    def change(obj: Lab) -> Any:
        (ws,) = obj.ctx.get_web_sockets()
        ws.attachment["text"] = "changed in a copy"
        return attached(obj)

    assert await do(lab(), change) == "a"
    await local.evict(lab())
    assert await do(lab(), attached) == "a"


async def test_W2_a_socket_is_not_accepted_in_a_part_that_may_be_undone_by_itself(
    local: LocalObjects,
) -> None:
    refused = []

    def connect(obj: Lab, ws: Any) -> None:
        try:
            with obj.ctx.storage.transaction():
                obj.ctx.accept_web_socket(ws)
        except SocketError as error:
            refused.append(error.message)
        obj.ctx.accept_web_socket(ws)

    HOOKS["connect"] = connect
    ws = await local.connect(lab())
    assert refused == ["leave the transaction() block before you accept a socket"]
    await local.evict(lab())
    assert await sockets_of(lab()) == [ws.id]


async def test_W7_an_auto_response_is_not_set_in_a_part_that_may_be_undone_by_itself(
    local: LocalObjects,
) -> None:
    def set_in_part(obj: Lab) -> None:
        with obj.ctx.storage.transaction():
            obj.ctx.set_web_socket_auto_response("ping", "pong")

    with pytest.raises(SocketError, match="leave the transaction"):
        await do(lab(), set_in_part)


async def test_W4_more_sockets_than_allowed_are_refused(local: LocalObjects) -> None:
    stub = lab(kind=SmallLab)
    sockets = [await local.connect(stub) for _ in range(3)]
    assert [ws.is_open for ws in sockets] == [True, True, False]
    await sockets[0].close()
    assert (await local.connect(stub)).is_open


async def test_W5_a_raising_handler_leaves_the_socket_open(local: LocalObjects) -> None:
    def fail(obj: Lab, ws: Any, message: Any) -> None:
        put(obj, "key", 1)
        ws.send("never")
        if message == "bad":
            raise ValueError("no")

    HOOKS["message"] = fail
    ws = await local.connect(lab())
    await ws.send("bad")
    assert ws.is_open
    assert "never" not in ws.take()
    assert await do(lab(), get, "key") is None
    await ws.send("good")
    assert ws.take() == ["never"]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_W5_a_class_may_have_an_error_frame(local: LocalObjects, how: str) -> None:
    hanging = asyncio.Event()

    async def fail(obj: Lab, ws: Any, message: Any) -> None:
        ws.send("never")
        if how == "raises":
            raise ValueError("no")
        hanging.set()
        await asyncio.Event().wait()

    HOOKS["message"] = fail
    ws, other = await local.connect(lab(kind=SmallLab)), await local.connect(lab(kind=SmallLab))
    ws.post("bad")
    if how == "hangs":
        await hanging.wait()
        await local.advance(6)
    await ws.handled()
    assert (ws.take(), other.take(), ws.is_open) == (["that failed"], [], True)


async def test_W6_exactly_one_close_event_a_socket(local: LocalObjects) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append(
        [code, reason, clean, len(obj.ctx.get_web_sockets())]
    )
    ws, other = await local.connect(lab()), await local.connect(lab())
    await ws.close(4001, "bye")
    await local.crash()
    await other.close()
    assert closes == [[4001, "bye", True, 1], [1000, "", True, 0]]


async def test_W6_a_connection_that_vanished_closes_with_1006(local: LocalObjects) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append((code, reason, clean))
    ws = await local.connect(lab())
    await local.evict(lab())
    await ws.vanish()
    assert closes == [(1006, "", False)]


async def test_W6_a_close_by_the_object_ends_with_one_close_event(local: LocalObjects) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append((code, reason, clean))
    HOOKS["message"] = lambda obj, ws, message: ws.close(4000, "enough")
    ws = await local.connect(lab())
    await ws.send("x")
    assert await ws.closed() == 4000
    assert await do(lab(), lambda obj: len(obj.ctx.get_web_sockets())) == 0
    assert closes == [(4000, "enough", True)]


async def test_W6_a_gateway_that_died_takes_its_sockets_along(local: LocalObjects) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append(code)
    await local.connect(lab())
    await local.evict(lab())
    await local.lose_gateway()
    await local.crash()
    stays = await local.connect(lab())
    assert closes == [1006]
    assert await do(lab(), lambda obj: [ws.id for ws in obj.ctx.get_web_sockets()]) == [stays.id]


async def take_for_dead(local: LocalObjects, gateway: LocalGateway) -> None:
    """Let the object believe that a gateway has died which still lives."""
    heard = asyncio.get_running_loop().create_future()
    channel = gateway.router.channel(lab().id)
    gateway.router.post(channel, Vanished(0, channel.target, gateway.hub.gateway), heard.set_result)
    await heard
    await local.settle()


async def test_W6_a_gateway_that_was_taken_for_dead_closes_what_its_objects_do_not_know(
    local: LocalObjects,
) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append(code)
    gateway = await local.add_gateway()
    deaf = await local.connect(lab())
    await take_for_dead(local, gateway)
    known = await local.connect(lab())
    await gateway.hub.attach_all()
    assert await deaf.closed() == 1012
    assert closes == [1006]
    assert known.is_open


async def test_W3_a_socket_that_opens_while_its_gateway_comes_back_is_not_closed(local: LocalObjects) -> None:
    gateway = await local.add_gateway()
    await local.connect(lab())
    attached = asyncio.create_task(gateway.hub.attach_all())
    opening = await local.connect(lab())
    await attached
    await local.crash()  # Attach comes before the opening that is repeated
    await lab().value()
    assert opening.is_open


async def test_W6_a_socket_lost_during_a_takeover_gets_its_close_event(local: LocalObjects) -> None:
    closes = []
    HOOKS["close"] = lambda obj, ws, code, reason, clean: closes.append(code)
    ws = await local.connect(lab())
    crash = asyncio.create_task(local.crash())
    await asyncio.sleep(0)
    await ws.vanish()
    await crash
    await lab().value()
    assert closes == [1006]


async def test_W6_a_socket_whose_close_hook_raises_is_not_listed_any_more(local: LocalObjects) -> None:
    closed = []

    def close(obj: Lab, ws: Any, *args: Any) -> None:
        closed.append(ws.id)
        put(obj, "trace", 1)
        raise ValueError("no")

    HOOKS["close"] = close
    ws, other = await local.connect(lab()), await local.connect(lab())
    await ws.close()
    assert await sockets_of(lab()) == [other.id]
    await local.evict(lab())
    assert await sockets_of(lab()) == [other.id]
    assert (closed, await do(lab(), get, "trace")) == ([ws.id], None)


async def test_W6_a_socket_whose_close_hook_takes_too_long_is_not_listed_any_more(
    local: LocalObjects,
) -> None:
    stub, closing = lab(kind=SmallLab), asyncio.Event()

    async def close(*args: Any) -> None:
        closing.set()
        await asyncio.Event().wait()

    HOOKS["close"] = close
    ws = await local.connect(stub)
    gone = asyncio.create_task(ws.close())
    await closing.wait()
    await local.advance(6)
    await gone
    assert await sockets_of(stub) == []


async def test_W6_a_socket_that_closes_while_start_fails_is_not_listed_any_more(local: LocalObjects) -> None:
    def start(obj: Lab) -> None:
        raise ValueError("not now")

    sockets = [await local.connect(lab()) for _ in range(3)]
    await local.evict(lab())
    HOOKS["start"] = start
    await asyncio.gather(*(ws.close() for ws in sockets))
    HOOKS.clear()
    assert await sockets_of(lab()) == []


async def test_W6_a_close_event_is_not_refused_though_the_queue_is_full(local: LocalObjects) -> None:
    stub, closed, running, go = lab(kind=SmallLab), [], asyncio.Event(), asyncio.Event()
    HOOKS["close"] = lambda obj, ws, *args: closed.append(ws.id)

    async def busy(obj: Lab) -> None:
        running.set()
        await go.wait()

    sockets = [await local.connect(stub) for _ in range(2)]
    calls = [asyncio.create_task(do(stub, busy))]
    await running.wait()
    calls += [asyncio.create_task(stub.value()) for _ in range(3)]
    await local.settle()
    gone = [asyncio.create_task(ws.close()) for ws in sockets]
    await local.settle()
    go.set()
    await asyncio.gather(*calls, *gone)
    assert sorted(closed) == sorted(ws.id for ws in sockets)
    assert await sockets_of(stub) == []


async def test_W6_a_socket_that_is_given_up_before_its_object_accepts_it_is_not_listed(
    local: LocalObjects,
) -> None:
    asked, go, closed = asyncio.Event(), asyncio.Event(), []
    HOOKS["close"] = lambda obj, ws, code, *_: closed.append(code)

    async def connect(obj: Lab, ws: Any) -> None:
        asked.set()
        await go.wait()
        obj.ctx.accept_web_socket(ws)

    gateway = await local.add_gateway()
    HOOKS["connect"] = connect
    opening = asyncio.create_task(local.connect(lab()))
    await asked.wait()
    gateway.hub.close_all(1013, "it took too long")
    go.set()
    ws = await opening
    assert ws.close_code == 1013
    await gateway.hub.emptied.wait()
    assert await sockets_of(lab()) == []
    assert closed == [1013]


async def test_W6_the_end_of_a_refused_socket_wakes_nobody(local: LocalObjects) -> None:
    HOOKS["connect"] = lambda obj, ws: ws.close(4404, "gone")
    ws = await local.connect(lab())
    assert ws.close_code == 4404
    await local.evict(lab())
    assert not local.is_active(lab())


async def test_W6_a_socket_that_one_owner_accepted_and_the_next_one_refused_is_not_listed(
    local: LocalObjects,
) -> None:
    def start(obj: Lab) -> None:
        raise OverloadedError("not now")

    local.commits.hold()
    opening = asyncio.create_task(local.connect(lab()))
    await local.commits.waiting()
    HOOKS["start"] = start
    local.commits.pass_through()
    await local.crash()
    ws = await opening
    assert ws.close_code == 1013
    await ws.close()
    HOOKS.clear()
    assert await sockets_of(lab()) == []


async def test_W6_a_close_event_comes_again_until_its_object_can_be_opened(local: LocalObjects) -> None:
    go, full, closed = asyncio.Event(), asyncio.Event(), []
    HOOKS["close"] = lambda obj, ws, code, reason, was_clean: closed.append((code, reason))

    async def busy(obj: Lab) -> None:
        full.set()
        await go.wait()

    ws = await local.connect(lab())
    await local.evict(lab())
    local.host.capacity = Capacity(1, 1 << 40)
    call = asyncio.create_task(do(lab("other"), busy))
    await full.wait()
    gone = asyncio.create_task(ws.close(4000, "bye"))
    await local.settle()
    with pytest.raises(OverloadedError):
        await lab().value()
    assert not gone.done()
    go.set()
    await call
    async with asyncio.timeout(DEADLINE):
        await gone
    assert closed == [(4000, "bye")]
    assert await sockets_of(lab()) == []


async def test_W6_a_close_event_whose_commit_is_lost_comes_again(local: LocalObjects) -> None:
    ws = await local.connect(lab())
    local.commits.fail()
    await ws.close()
    assert await sockets_of(lab()) == []


async def test_W6_using_a_closed_socket_is_a_clear_error(local: LocalObjects) -> None:
    kept = []
    HOOKS["connect"] = lambda obj, ws: [obj.ctx.accept_web_socket(ws), kept.append(ws)]
    ws = await local.connect(lab())
    await ws.close()
    with pytest.raises(SocketError, match="closed"):
        await do(lab(), lambda obj: kept[0].send("x"))


async def test_W7_the_gateway_answers_in_place_while_the_object_sleeps(local: LocalObjects) -> None:
    arrived = []
    HOOKS["message"] = lambda obj, ws, message: arrived.append(message)
    ws = await local.connect(lab())
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    await local.evict(lab())
    await ws.send("ping")
    assert ws.take() == ["pong"]
    assert not local.is_active(lab())
    await ws.send("ping ")
    await ws.send(b"ping")
    assert arrived == ["ping ", b"ping"]


async def test_W7_it_holds_for_sockets_that_come_later_and_after_a_takeover(local: LocalObjects) -> None:
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    early = await local.connect(lab())
    await local.crash()
    late = await local.connect(lab())
    for ws in (early, late):
        await ws.send("ping")
        assert ws.take() == ["pong"]


@pytest.mark.parametrize("texts", [(b"ping", b"pong"), ("ping", None), (5, 6), ("\ud800", "x")])
async def test_W7_only_a_text_can_be_answered_with_a_text(
    local: LocalObjects, texts: tuple[Any, Any]
) -> None:
    with pytest.raises(SocketError):
        await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response(*texts))
    assert local.troubles.messages == {}


@pytest.mark.parametrize("by_id", [False, True])
async def test_W8_one_socket_alone_can_be_left_out(local: LocalObjects, by_id: bool) -> None:
    clients = [await local.connect(lab()) for _ in range(2)]

    def tell(obj: Lab) -> None:
        first = obj.ctx.get_web_sockets()[0]
        obj.ctx.broadcast("hello", exclude=first.id if by_id else first)

    await do(lab(), tell)
    assert [client.take() for client in clients] == [[], ["hello"]]


async def test_W7_it_is_kept_though_the_object_stores_nothing_else(local: LocalObjects) -> None:
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    await local.advance(11)
    assert not local.is_active(lab())
    ws = await local.connect(lab())
    await ws.send("ping")
    assert ws.take() == ["pong"]


async def test_S4_an_auto_response_is_deleted_with_all_else_where_no_socket_needs_it(
    local: LocalObjects,
) -> None:
    ws = await local.connect(lab())
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    await do(lab(), lambda obj: obj.ctx.storage.delete_all())
    await local.evict(lab())
    await ws.send("ping")
    assert ws.take() == ["pong"]
    await ws.close()
    await do(lab(), lambda obj: obj.ctx.storage.delete_all())
    await local.evict(lab())
    assert not local.has_file(lab())


async def test_W7_it_can_be_ended(local: LocalObjects) -> None:
    HOOKS["message"] = echo
    ws = await local.connect(lab())
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response(None))
    await ws.send("ping")
    assert ws.take() == ["ping"]


async def test_W7_the_time_of_the_last_answer_can_be_read(local: LocalObjects) -> None:
    async def times(obj: Lab) -> list[int | None]:
        return [await obj.ctx.get_web_socket_auto_response_timestamp(ws) for ws in obj.ctx.get_web_sockets()]

    await do(lab(), lambda obj: obj.ctx.set_web_socket_auto_response("ping", "pong"))
    lively = await local.connect(lab())
    await local.add_gateway()
    await local.connect(lab())
    assert await do(lab(), times) == [None, None]
    await local.evict(lab())
    local.clock.advance(5)
    await lively.send("ping")
    answered = local.clock.now()
    assert not local.is_active(lab())
    local.clock.advance(5)
    assert await do(lab(), times) == [answered, None]


async def test_W7_it_cannot_be_read_when_the_sockets_gateway_is_gone(local: LocalObjects) -> None:
    async def time_of(obj: Lab) -> int | None:
        return await obj.ctx.get_web_socket_auto_response_timestamp(obj.ctx.get_web_sockets()[0])

    await local.connect(lab())
    await local.lose_gateway()
    with pytest.raises(UnavailableError):
        await do(lab(), time_of)


async def test_W8_a_broadcast_reaches_every_listed_socket_once_and_in_order(local: LocalObjects) -> None:
    sockets = [await local.connect(lab()) for _ in range(5)]
    await local.add_gateway()
    sockets += [await local.connect(lab()) for _ in range(5)]

    def broadcast(obj: Lab, n: int) -> None:
        put(obj, "n", n)
        obj.ctx.broadcast(f"{n}a")
        obj.ctx.broadcast(f"{n}b".encode())

    await asyncio.gather(*(do(lab(), broadcast, n) for n in range(3)))
    await local.settle()
    assert {tuple(ws.take()) for ws in sockets} == {("0a", b"0b", "1a", b"1b", "2a", b"2b")}


async def test_W8_tags_and_exclusions(local: LocalObjects) -> None:
    HOOKS["connect"] = lambda obj, ws: obj.ctx.accept_web_socket(ws, ws.user["tags"])
    red, both, blue = [
        await local.connect(lab(), {"tags": tags}) for tags in (["red"], ["red", "blue"], ["blue"])
    ]

    def broadcast(obj: Lab) -> None:
        obj.ctx.broadcast("to red", tag="red")
        obj.ctx.broadcast("not to red", exclude=obj.ctx.get_web_sockets("red"))
        obj.ctx.broadcast("not to blue", tag="blue", exclude=[both.id])

    await do(lab(), broadcast)
    assert (red.take(), both.take(), blue.take()) == (["to red"], ["to red"], ["not to red", "not to blue"])


async def test_W8_a_broadcast_whose_owner_died_before_its_commit_was_durable_arrives_at_most_once(
    local: LocalObjects,
) -> None:
    ws = await local.connect(lab())

    def broadcast(obj: Lab) -> None:
        put(obj, "key", 1)
        obj.ctx.broadcast("news")

    local.commits.hold()
    call = asyncio.create_task(do(lab(), broadcast))
    await local.commits.waiting()
    await local.crash()
    local.commits.release()
    await call
    await local.settle()
    assert ws.take().count("news") <= 1


async def test_W8_a_frame_is_text_or_bytes(local: LocalObjects) -> None:
    for message in (5, None, {"a": 1}):
        with pytest.raises(DurableError):
            await do(lab(), lambda obj, message: obj.ctx.broadcast(message), message)
    with pytest.raises((RemoteError, DurableError)):
        await do(lab(), lambda obj: obj.ctx.get_web_sockets()[0])


async def test_W9_a_client_that_does_not_read_is_closed_and_delays_nobody(local: LocalObjects) -> None:
    slow, quick = await local.connect(lab()), await local.connect(lab())
    slow.stop_reading()
    for _ in range(6):
        await do(lab(), lambda obj: obj.ctx.broadcast(b"x" * 1_000_000))
    assert len(quick.take()) == 6
    assert slow.close_code == 1013


async def test_W9_volatile_frames_to_a_slow_client_are_coalesced(local: LocalObjects) -> None:
    slow = await local.connect(lab())
    slow.stop_reading()

    def broadcast(obj: Lab, n: int) -> None:
        obj.ctx.broadcast(f"cursor {n}", volatile="cursor")
        obj.ctx.broadcast(f"news {n}")

    for n in range(3):
        await do(lab(), broadcast, n)
    slow.read_again()
    frames = [await slow.receive() for _ in range(5)]
    assert frames == ["cursor 0", "news 0", "cursor 2", "news 1", "news 2"]
    assert slow.take() == []


async def test_what_an_alarm_sends_has_arrived_when_the_clock_has_been_moved(local: LocalObjects) -> None:
    sockets = [await local.connect(lab()) for _ in range(3)]
    HOOKS["alarm"] = lambda obj, info: (put(obj, "rang", 1), obj.ctx.broadcast("ring"))
    await do(lab(), lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 1000))
    await local.evict(lab())
    await local.advance(1)
    assert [ws.take() for ws in sockets] == [["ring"]] * 3


async def test_W1_one_event_may_send_more_than_one_message_of_the_link_can_carry(local: LocalObjects) -> None:
    HOOKS["message"] = lambda obj, ws, message: [ws.send(f"{n}".ljust(1 << 20)) for n in range(45)]
    ws = await local.connect(lab())
    await ws.send("go")
    received = [await ws.receive() for _ in range(45)]
    assert [str(frame).strip() for frame in received] == [str(n) for n in range(45)]
