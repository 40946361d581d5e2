"""What an event wants done to sockets, as messages to the gateways that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from durable.core.envelope import Effects, Target

from .events import Operation

LARGE_BYTES = 4 << 20  # frames of one event beyond this go in several messages


def messages(
    target: Target, epoch: int, effects: Iterable[tuple[str, Operation]]
) -> Iterator[tuple[str, Effects]]:
    """(gateway, message) for all effects, in order; one message each, unless they are large."""
    by_gateway: dict[str, list[Operation]] = {}
    for gateway, operation in effects:
        by_gateway.setdefault(gateway, []).append(operation)
    for gateway, operations in by_gateway.items():
        for part in _parts(operations):
            yield gateway, Effects(target, epoch, part)


def _parts(operations: list[Operation]) -> Iterator[list[Operation]]:
    """The operations in order, in lists that a message on the link can carry."""
    if len(operations) == 1:
        yield operations
        return
    part: list[Operation] = []
    size = 0
    for operation in operations:
        if size > LARGE_BYTES:
            yield part
            part, size = [], 0
        part.append(operation)
        if operation[0] == "send":
            size += len(operation[2])
    yield part
