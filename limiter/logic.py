"""The limiting algorithms, pure: what is remembered of a key and the time go in, a decision comes out.

All arithmetic is on integers, so that no rounding ever admits one too many; times are whole milliseconds. A refused
request changes nothing. In every bound below, "a window" is a half-open interval [t, t + window) of the clock that
the decisions are made by, wherever it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_LIMIT = 1_000_000
MAX_WINDOW_SECONDS = 366 * 24 * 3600
# now * MAX_LIMIT + MAX_LIMIT * window fits into SQLite's signed 64 bits until the year 2250.


@dataclass(frozen=True, slots=True)
class Rule:
    """What to keep to.

    Attributes:
        algorithm: a name of ALGORITHMS.
        limit: cost per window.
        window_ms: length of the window in milliseconds.
        burst: cost that `gcra` and `token_bucket` admit at once; the others do not use it.
    """

    algorithm: str
    limit: int
    window_ms: int
    burst: int

    @property
    def capacity(self) -> int:
        """The most that one request may cost: more would never be admitted."""
        return self.burst if self.algorithm in ("gcra", "token_bucket") else self.limit


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request.

    Attributes:
        allowed: whether it is within the limit. Asking for a cost of 0 always is.
        remaining: the cost that would still be admitted right after it.
        reset_after: ms until the key is as if it had never been used, if nothing else comes.
        retry_after: ms until a request of this cost would be admitted, if nothing else comes; 0 when allowed.
    """

    allowed: bool
    remaining: int
    reset_after: int
    retry_after: int


class Hits(Protocol):
    """What `sliding_window` asks of one key's log of admitted requests."""

    def used(self, after: int) -> int:
        """The summed cost of the hits later than `after`."""

    def newest(self) -> int | None:
        """The time of the latest hit."""

    def oldest(self, after: int) -> Iterator[tuple[int, int]]:
        """(time, cost) of the hits later than `after`, in order of time."""


def sliding_window(rule: Rule, hits: Hits, now: int, cost: int) -> Decision:
    """Decide by a log of admitted requests. The caller logs (now, cost) when it is allowed and costs something.

    Bound: never more than `limit` in any window, exactly. Space: one entry for each millisecond in which something
    was admitted, at most `limit` of them.
    """
    horizon = now - rule.window_ms
    used = hits.used(horizon)
    newest = hits.newest()
    allowed = used + cost <= rule.limit
    if allowed:
        used += cost
        if cost:
            newest = now
    reset_after = 0 if newest is None else max(0, newest + rule.window_ms - now)
    return Decision(
        allowed=allowed or cost == 0,
        remaining=max(0, rule.limit - used),
        reset_after=reset_after,
        retry_after=0 if allowed or cost == 0 else _freed_after(rule, hits, now, used + cost - rule.limit),
    )


def _freed_after(rule: Rule, hits: Hits, now: int, needed: int) -> int:
    """Ms until hits with a summed cost of `needed` have left the window."""
    freed = 0
    for at, cost in hits.oldest(now - rule.window_ms):
        freed += cost
        if freed >= needed:
            return at + rule.window_ms - now
    return rule.window_ms  # a cost above the limit; callers refuse it before


State = tuple[int, int]
"""Two integers that an algorithm remembers of a key; their meaning is its own."""


def gcra(rule: Rule, state: State | None, now: int, cost: int) -> tuple[Decision, State]:
    """Decide by the generic cell rate algorithm: `burst` at once, then one each window / limit.

    Bound: at most burst + limit - 1 in any window. With burst = limit that is almost twice the limit; with burst = 1
    it is the limit, evenly spaced. Space: two integers.

    The state is (theoretical arrival time, limit it is scaled by): times count in ms * limit, in which one unit of
    cost takes exactly window_ms, so nothing is rounded.
    """
    limit, per_unit = rule.limit, rule.window_ms
    scaled_now = now * limit
    arrival = scaled_now
    if state is not None:
        known, scale = state
        if scale != limit:
            known = -(-known * limit // scale)  # the policy was edited; round against the caller
        arrival = max(known, scaled_now)
    depth = rule.burst * per_unit
    over = arrival + cost * per_unit - scaled_now - depth
    allowed = over <= 0
    if allowed:
        arrival += cost * per_unit
    decision = Decision(
        allowed=allowed or cost == 0,
        remaining=max(0, (depth - (arrival - scaled_now)) // per_unit),
        reset_after=-(-(arrival - scaled_now) // limit),
        retry_after=0 if allowed or cost == 0 else -(-over // limit),
    )
    return decision, (arrival, limit)


def token_bucket(rule: Rule, state: State | None, now: int, cost: int) -> tuple[Decision, State]:
    """Decide by a bucket of `burst` tokens that refills by `limit` tokens a window.

    Bound: at most burst + limit - 1 in any window. It is GCRA told the other way round (tokens missing from the
    bucket are time ahead of schedule), and so shares its arithmetic.
    """
    return gcra(rule, state, now, cost)


def fixed_window(rule: Rule, state: State | None, now: int, cost: int) -> tuple[Decision, State]:
    """Decide by one count for each window of the calendar, which begin at multiples of the window since the epoch.

    Bound: never more than `limit` in a calendar window, and so up to twice the limit in a window that spans two.
    The state is (begin of the window, cost admitted in it).
    """
    begin = now - now % rule.window_ms
    used = state[1] if state is not None and state[0] == begin else 0
    until_next = begin + rule.window_ms - now
    allowed = used + cost <= rule.limit
    if allowed:
        used += cost
    decision = Decision(
        allowed=allowed or cost == 0,
        remaining=max(0, rule.limit - used),
        reset_after=until_next if used else 0,
        retry_after=0 if allowed or cost == 0 else until_next,
    )
    return decision, (begin, used)


COUNTED: dict[str, Callable[[Rule, State | None, int, int], tuple[Decision, State]]] = {
    "gcra": gcra,
    "token_bucket": token_bucket,
    "fixed_window": fixed_window,
}
"""The algorithms that remember two integers."""

ALGORITHMS = ("sliding_window", *COUNTED)
