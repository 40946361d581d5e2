"""Calls that an object's code makes to other objects: they wait for its commits and carry their origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from durable.core.envelope import CallId, Target
from durable.identity import ObjectId

from .events import current_event

if TYPE_CHECKING:
    from .activation import Activation


class RemoteCaller(Protocol):
    """Brings a call to its owner, with an identity and the chain of objects that wait for it."""

    async def call(
        self,
        object_id: ObjectId,
        method: str,
        arguments: bytes,
        *,
        call_id: CallId | None = None,
        chain: list[str] | None = None,
        repeat: bool = False,
    ) -> bytes:
        """The encoded result; raises DurableError. `repeat`: somebody may have made the call of this `call_id` before."""

    def wake(self, object_id: ObjectId) -> object:
        """Have the object's owner open it, which finds what is due; nobody waits for that."""


def link(target: Target, *, waits: bool = True) -> str:
    """An object in a chain: the id that it is known by, whatever its caller knew of it, and what messages name it.

    One whose `@concurrent` method makes the call does not wait itself: it is named, but may be called back.
    """
    return f"{target.id if waits else ''} {target.key}({target.name or target.id})"


def cycle(chain: list[str], target: Target) -> str | None:
    """What to say of a chain that comes back to `target`; None when that does not wait in it."""
    if all(one.partition(" ")[0] != target.id for one in chain):
        return None
    return " -> ".join(one.partition(" ")[2] for one in [*chain, link(target)])


class ObjectCalls:
    """The dispatcher of one activation's code.

    A call is an effect: what the event has written so far is committed before it leaves, and that, and all that the event
    can have seen of others, is durable.
    """

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """Call another object as part of the running event."""
        activation, event = self._activation, current_event.get()
        remote = activation.host.remote
        if event is None:  # a task that was left behind: nobody's event
            return await remote.call(object_id, method, arguments)
        gate = activation.gate
        if event is activation.running:
            if gate.has_unflushed(event) or not gate.is_clear:
                await activation.flush()
        elif event.concurrent and not gate.is_clear:
            await gate.clear()
        chain = [*event.chain, link(activation.target, waits=not event.concurrent)]
        call_id = event.next_call_id(str(activation.object_id), str(object_id), method)
        repeat = event.repeat  # then it may have come this far before
        with event.leaving():
            return await remote.call(
                object_id, method, arguments, call_id=call_id, chain=chain, repeat=repeat
            )
