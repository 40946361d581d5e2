"""Limiters: in no window is more admitted than the limit.

The owner decided somewhere between a request's beginning and its answer. So if more than the limit was both asked for and answered
within one window of the clients' clock, it was decided within one window of the owner's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from chaos.history import Injection, Operation, Record

from .finding import Finding, operations

CHECK = frozenset({"check"})
CLOCK_FAULTS = frozenset({"clock-forward", "clock-back"})
"""The promise is by the owner's clock: windows in which that was moved are left out."""


def check_limits(records: Sequence[Record]) -> Iterator[Finding]:
    """Check every key that was asked for."""
    moved = [
        (record.begun, record.healed)
        for record in records
        if isinstance(record, Injection) and record.fault in CLOCK_FAULTS
    ]
    for name, asked in operations(records, CHECK).items():
        admitted = [one for one in asked if one.outcome == "ok" and one.result["allowed"]]
        if not admitted:
            continue
        limit, window = admitted[0].argument["limit"], admitted[0].argument["window"]
        yield from _check_windows(name, admitted, limit, window, moved)


def _check_windows(
    name: str,
    admitted: Sequence[Operation],
    limit: int,
    window: float,
    moved: Sequence[tuple[float, float]],
) -> Iterator[Finding]:
    begins = [one.invoked for one in admitted]  # in order already
    reported = float("-inf")
    for first in admitted:
        ends = first.invoked + window
        if first.invoked < reported or any(
            begun < ends and first.invoked < healed for begun, healed in moved
        ):
            continue
        candidates = admitted[bisect_left(begins, first.invoked) : bisect_left(begins, ends)]
        inside = sum(one.ended < ends for one in candidates)
        if inside > limit:
            reported = ends
            detail = f"{inside} were admitted within {window:g} s; the limit is {limit}"
            yield Finding("over limit", name, first.invoked, detail, inside - limit)
