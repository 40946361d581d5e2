"""One broken promise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec

from chaos.history import Operation, Record, Stored

Kind = Literal["lost", "doubled", "reordered", "stale", "missed", "invented", "early", "over limit"]
"""`lost`: acknowledged and not there. `doubled`: it took effect, or was delivered, more than once. `reordered`: two things in an
order that contradicts what clients saw. `stale`: a read that misses what was acknowledged before it. `missed`: there, but a
client that asked for what it misses was not told. `invented`: there, and nobody can have done it. `early`: before its time.
`over limit`: admitted beyond the limit."""

R = TypeVar("R", bound=Record)


class Finding(msgspec.Struct, frozen=True):
    """What was promised of which object, and what is the case instead; `at` is the time of what was broken."""

    kind: Kind
    object: str
    at: float
    detail: str
    count: int = 1


def operations(records: Iterable[Record], kinds: frozenset[str]) -> dict[str, list[Operation]]:
    """The operations of these kinds by object, in order of their beginning."""
    found: dict[str, list[Operation]] = {}
    for record in records:
        if isinstance(record, Operation) and record.kind in kinds:
            found.setdefault(record.object, []).append(record)
    for some in found.values():
        some.sort(key=lambda operation: operation.invoked)
    return found


def stored(records: Iterable[Record], kind: str) -> dict[str, Stored]:
    """What is stored at the end, by object."""
    return {record.object: record for record in records if isinstance(record, Stored) and record.kind == kind}
