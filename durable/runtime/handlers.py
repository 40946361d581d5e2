"""Events made of what arrives on the link: how each kind of request becomes work for an activation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable.core import codec
from durable.core.envelope import Attach, Call, SocketClose, SocketFrame, SocketOpen, Vanished
from durable.errors import NotCallableError, ReentrantCallError

from .alarms import RUN_ALARM, run_alarm_event
from .calls import cycle
from .events import Answer, Event
from .exports import DELETE, REPLACE, delete_event, replace_event
from .objects import has_fetch, is_concurrent, methods_of
from .requests import FETCH, Response, decode_request, encode_response
from .signatures import find_method, may_wait

if TYPE_CHECKING:
    from .activation import Activation
    from .objects import DurableObject
    from .sockets import WebSocket

_OWN = {DELETE: delete_event, REPLACE: replace_event, RUN_ALARM: run_alarm_event}
"""What every object can be asked for, by the runtime itself."""

ObjectRequest = Call | SocketOpen | SocketFrame | SocketClose | Attach | Vanished


def call_event(kind: type[DurableObject], request: Call, answer: Answer) -> Event:
    """The event of a method call; raises NotCallableError, ArgumentError before anything runs."""
    own = _OWN.get(request.method)
    if own is not None:
        return own(request, answer)
    if request.method == FETCH:
        return _fetch_event(kind, request, answer)
    method = find_method(methods_of(kind), kind.key, request.method)
    args, kwargs = codec.decode(request.arguments)
    args, kwargs = method.bind(args, kwargs)
    function = method.function

    async def run(activation: Activation) -> bytes | None:
        return codec.encode(await function(activation.instance, *args, **kwargs))

    return Event(
        method.label,
        run,
        answer,
        size=len(request.arguments),
        call_id=request.id,
        chain=request.chain,
        repeat=request.repeat,
        concurrent=method.concurrent,
        waits=method.waits,
    )


def _fetch_event(kind: type[DurableObject], request: Call, answer: Answer) -> Event:
    """The event of an HTTP request; raises NotCallableError when the class has no `fetch`."""
    if not has_fetch(kind):
        raise NotCallableError(f"{kind.key} has no fetch() hook")
    asked = decode_request(request.arguments)

    async def run(activation: Activation) -> bytes | None:
        response = await activation.instance.fetch(asked)
        if not isinstance(response, Response):
            raise TypeError(f"fetch() returns a durable.Response, not {type(response).__name__}")
        return encode_response(response)

    return Event(
        "fetch",
        run,
        answer,
        size=len(request.arguments),
        call_id=request.id,
        chain=request.chain,
        repeat=request.repeat,
        concurrent=is_concurrent(kind.fetch),
    )


def socket_open_event(request: SocketOpen, gateway: str, answer: Answer) -> Event:
    """The event of a client that wants to connect; a socket that the hook does not accept is refused."""

    async def run(activation: Activation) -> bytes | None:
        if request.socket in activation.sockets:  # a repeat: it was accepted before its owner died
            activation.effect(gateway, ("accept", request.socket))
            return None
        ws = activation.sockets.connecting(request.socket, gateway, request.hello)
        try:
            await activation.instance.web_socket_connect(ws)
        finally:
            accepted = activation.sockets.end_connecting(ws)
        if not accepted:
            activation.effect(gateway, ("close", ws.id, 4403, "not accepted"))
            return None
        auto = activation.auto_response()
        if auto is not None:
            activation.effect(gateway, ("auto", *auto))
        return None

    return Event(
        "web_socket_connect",
        run,
        answer,
        size=len(request.hello),
        repeat=request.repeat,
        origin=f"open/{request.socket}",
    )


def socket_frame_event(
    kind: type[DurableObject], request: SocketFrame, gateway: str, answer: Answer
) -> Event:
    """The event of a frame; one that was handled before has no second effect.

    A socket that the object does not know (it took its gateway for dead) is closed, so that its client comes back.
    """

    async def run(activation: Activation) -> bytes | None:
        ws = activation.sockets.get(request.socket)
        if ws is None:
            activation.effect(gateway, ("close", request.socket, 1012, "connect again"))
        elif request.frame > ws.received:
            ws.received = request.frame
            await activation.instance.web_socket_message(ws, request.data)
        return None

    return Event(
        "web_socket_message",
        run,
        answer,
        size=len(request.data),
        repeat=request.repeat,
        socket=(request.socket, request.frame),
        waits=may_wait(kind.web_socket_message),
    )


def socket_close_event(request: SocketClose, answer: Answer) -> Event:
    """The event of a socket that has closed; one that is not listed any more has had it."""

    async def run(activation: Activation) -> bytes | None:
        ws = activation.sockets.get(request.socket)
        if ws is not None:
            await _closed(activation, ws, request.code, request.reason, clean=request.clean)
        return None

    return Event("web_socket_close", run, answer, repeat=request.repeat, closes=request.socket)


def vanished_event(socket_id: str) -> Event:
    """The event of a socket whose gateway is gone or does not know it any more."""

    async def run(activation: Activation) -> bytes | None:
        ws = activation.sockets.get(socket_id)
        if ws is not None:
            await _closed(activation, ws, 1006, "", clean=False)
        return None

    return Event("web_socket_close", run, closes=socket_id)


def forget_event(socket_id: str, answer: Answer) -> Event:
    """What is left to be done when a socket's close event has failed: the socket is gone all the same."""

    async def run(activation: Activation) -> bytes | None:
        ws = activation.sockets.get(socket_id)
        if ws is not None:
            activation.sockets.forget(ws)
        return None

    return Event("forget a closed socket", run, answer, needs_instance=False)


async def _closed(activation: Activation, ws: WebSocket, code: int, reason: str, *, clean: bool) -> None:
    activation.sockets.forget(ws)
    await activation.instance.web_socket_close(ws, code, reason, clean)


def gateway_vanished_event(request: Vanished, answer: Answer) -> Event:
    """The event of a gateway that has died: each of its sockets gets its close event."""

    async def run(activation: Activation) -> bytes | None:
        for ws in activation.sockets:
            if ws.gateway == request.gateway:
                activation.offer_first(vanished_event(ws.id))
        return None

    return Event("gateway vanished", run, answer, repeat=request.repeat)


def attach_event(request: Attach, gateway: str, answer: Answer) -> Event:
    """A gateway says which of the object's sockets it holds: those it does not hold have vanished.

    It is told which of them the object does not know (it took the gateway for dead), so that their clients come back.
    """

    async def run(activation: Activation) -> bytes | None:
        held = set(request.sockets)
        for ws in activation.sockets:
            if ws.gateway == gateway and ws.id not in held:
                activation.offer_first(vanished_event(ws.id))
        unknown = [socket for socket in request.sockets if activation.sockets.get(socket) is None]
        if unknown:
            activation.effect(gateway, ("unknown", unknown))
        auto = activation.auto_response()
        if auto is not None:
            activation.effect(gateway, ("auto", *auto))
        return None

    return Event("attach", run, answer, repeat=request.repeat)


def event_of(kind: type[DurableObject], request: ObjectRequest, peer: str, answer: Answer) -> Event:
    """The event of a request from `peer`. Raises ReentrantCallError, and what `call_event` does."""
    match request:
        case Call():
            _refuse_cycle(request, kind)
            return call_event(kind, request, answer)
        case SocketFrame():
            return socket_frame_event(kind, request, peer, answer)
        case SocketOpen():
            return socket_open_event(request, peer, answer)
        case SocketClose():
            return socket_close_event(request, answer)
        case Attach():
            return attach_event(request, peer, answer)
        case Vanished():
            return gateway_vanished_event(request, answer)


def _refuse_cycle(request: Call, kind: type[DurableObject]) -> None:
    found = cycle(request.chain, request.target)
    if found is not None:
        method = methods_of(kind).get(request.method)
        if method is None or not method.concurrent:
            raise ReentrantCallError(f"a call came back to an object that waits for it: {found}")
