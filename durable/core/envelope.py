"""What travels on the link between gateways and workers: msgpack arrays, each with a tag.

A request names its object and has a number that its sender chose; the answer repeats that number. Payloads of calls are
values encoded by `durable.core.codec`; the link does not look into them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from durable.errors import WireError

LINK_VERSION = 2


class Hello(msgspec.Struct, array_like=True, tag="h", gc=False):
    """First message in both directions: who speaks, and which version of the link."""

    version: int
    peer: str
    kind: str  # "gateway", "worker" or "client"


class Target(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The object a request is for."""

    key: str
    id: str
    name: str | None


class CallId(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Identity of a call across repeats: a caller, one of its slots, and a number that grows per slot.

    A caller uses a slot again only when it has the answer to the slot's previous call, so remembering one call per
    slot is enough (the idea of NFS 4.1 session slots, RFC 8881 section 2.10.6).
    """

    caller: str
    slot: int
    number: int


DERIVED = "~"
"""First character of a caller that stands for one event of another object: no other caller begins so, or with what comes after it."""

DERIVED_CALL_MS = 10 * 60 * 1000
"""How long a call by another object's event may be repeated."""

CALL_MS = 7 * 24 * 60 * 60 * 1000
"""The same of any other call: far above how long its caller waits for its answer."""


class Call(msgspec.Struct, array_like=True, tag="c", gc=False):
    """Call a method."""

    number: int
    target: Target
    method: str
    arguments: bytes  # encoded [args, kwargs]
    id: CallId
    chain: list[str]  # objects that wait for this call, outermost first: "<id> <what messages name it>"
    repeat: bool = False


class SocketOpen(msgspec.Struct, array_like=True, tag="o", gc=False):
    """A client wants to open a socket."""

    number: int
    target: Target
    socket: str
    hello: bytes  # encoded {"url", "headers", "user"}
    repeat: bool = False


class SocketFrame(msgspec.Struct, array_like=True, tag="f", gc=False):
    """Frame `frame` of a socket, counted from 1."""

    number: int
    target: Target
    socket: str
    frame: int
    data: Any  # str or bytes; msgpack keeps them apart, but a typed union of both cannot be declared
    repeat: bool = False


class SocketClose(msgspec.Struct, array_like=True, tag="x", gc=False):
    """A socket has closed."""

    number: int
    target: Target
    socket: str
    code: int
    reason: str
    clean: bool
    repeat: bool = False


class Attach(msgspec.Struct, array_like=True, tag="a", gc=False):
    """The sockets of the object that are connected at this gateway: sent first to every new owner."""

    number: int
    target: Target
    sockets: list[str]
    repeat: bool = False


class Vanished(msgspec.Struct, array_like=True, tag="v", gc=False):
    """A gateway has died, and its sockets with it."""

    number: int
    target: Target
    gateway: str
    repeat: bool = False


class Command(msgspec.Struct, array_like=True, tag="i", gc=False):
    """An operator's question or action; it waits for no queue and wakes nothing."""

    number: int
    target: Target
    verb: str
    arguments: bytes
    repeat: bool = False


class Reply(msgspec.Struct, array_like=True, tag="r", gc=False):
    """The answer to a request: a value, or an error."""

    number: int
    value: bytes | None = None
    error: WireError | None = None


class NotOwner(msgspec.Struct, array_like=True, tag="n", gc=False):
    """This worker does not own the object; `owner` does, if that is known."""

    number: int
    owner: str | None = None


class Effects(msgspec.Struct, array_like=True, tag="e", gc=False):
    """What an event does to sockets: operations in order, dropped when a later epoch has been seen.

    Operations: ("accept", socket), ("send", [sockets], data, volatile key or None), ("close", socket, code, reason),
    ("auto", request or None, response or None), ("asleep",).
    """

    target: Target
    epoch: int
    operations: list[tuple[Any, ...]]


class LastAutoResponse(msgspec.Struct, array_like=True, tag="l", gc=False):
    """A worker asks a gateway when it last answered this socket's client in the object's place.

    The gateway's Reply has ms since the epoch, as an encoded value, or None.
    """

    number: int
    target: Target
    socket: str


Request = Call | SocketOpen | SocketFrame | SocketClose | Attach | Vanished | Command
Message = Hello | Request | Reply | NotOwner | Effects | LastAutoResponse

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode
