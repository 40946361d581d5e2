"""The limiting algorithms keep the bounds that their docstrings state, whatever arrives when."""

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiter.logic import (
    ALGORITHMS,
    COUNTED,
    MAX_LIMIT,
    MAX_WINDOW_SECONDS,
    Decision,
    Rule,
    State,
    fixed_window,
    gcra,
    sliding_window,
    token_bucket,
)


class ListHits:
    """The plainest log of hits."""

    def __init__(self) -> None:
        self.hits: list[tuple[int, int]] = []

    def used(self, after: int) -> int:
        return sum(cost for at, cost in self.hits if at > after)

    def newest(self) -> int | None:
        return self.hits[-1][0] if self.hits else None

    def oldest(self, after: int) -> Iterator[tuple[int, int]]:
        return (hit for hit in self.hits if hit[0] > after)


class Key:
    """One key under any algorithm."""

    def __init__(self) -> None:
        self.hits = ListHits()
        self.state: State | None = None

    def check(self, rule: Rule, now: int, cost: int) -> Decision:
        if rule.algorithm == "sliding_window":
            decision = sliding_window(rule, self.hits, now, cost)
            if decision.allowed and cost:
                self.hits.hits.append((now, cost))
            return decision
        decision, state = COUNTED[rule.algorithm](rule, self.state, now, cost)
        if decision.allowed and cost:
            self.state = state
        return decision

    def look(self, rule: Rule, now: int, cost: int) -> Decision:
        """What a check would answer; leaves no trace."""
        hits, state = list(self.hits.hits), self.state
        decision = self.check(rule, now, cost)
        self.hits.hits, self.state = hits, state
        return decision


@st.composite
def rules(draw: st.DrawFn, algorithm: str | None = None) -> Rule:
    return Rule(
        algorithm or draw(st.sampled_from(ALGORITHMS)),
        limit=draw(st.integers(1, 12)),
        window_ms=draw(st.sampled_from([1, 7, 10, 60, 1000])),
        burst=draw(st.integers(1, 12)),
    )


def arrivals(rule: Rule) -> st.SearchStrategy[list[tuple[int, int]]]:
    """(pause before it, cost) of each request, with pauses around the lengths that matter."""
    pauses = st.one_of(
        st.integers(0, 3),
        st.integers(max(0, rule.window_ms - 2), rule.window_ms + 2),
        st.integers(0, rule.window_ms),
    )
    return st.lists(st.tuples(pauses, st.integers(0, rule.capacity)), max_size=60)


def admitted(rule: Rule, requests: list[tuple[int, int]]) -> list[tuple[int, int]]:
    key, now, found = Key(), 1_000_000_007, []
    for pause, cost in requests:
        now += pause
        if key.check(rule, now, cost).allowed:
            found.append((now, cost))
    return found


def most_in_any_window(hits: list[tuple[int, int]], window: int) -> int:
    times = [at for at, _ in hits]
    return max(
        (
            sum(cost for _, cost in hits[i : bisect_right(times, at + window - 1)])
            for i, at in enumerate(times)
        ),
        default=0,
    )


@given(st.data(), rules("sliding_window"))
def test_sliding_window_never_exceeds_the_limit_in_any_window(data: st.DataObject, rule: Rule) -> None:
    assert most_in_any_window(admitted(rule, data.draw(arrivals(rule))), rule.window_ms) <= rule.limit


@given(st.data(), rules("gcra"))
def test_gcra_keeps_burst_plus_limit_minus_one(data: st.DataObject, rule: Rule) -> None:
    hits = admitted(rule, data.draw(arrivals(rule)))
    assert most_in_any_window(hits, rule.window_ms) <= rule.burst + rule.limit - 1


@given(st.data(), rules("fixed_window"))
def test_fixed_window_keeps_the_limit_by_calendar_and_twice_it_anywhere(
    data: st.DataObject, rule: Rule
) -> None:
    hits = admitted(rule, data.draw(arrivals(rule)))
    by_window: dict[int, int] = {}
    for at, cost in hits:
        by_window[at // rule.window_ms] = by_window.get(at // rule.window_ms, 0) + cost
    assert max(by_window.values(), default=0) <= rule.limit
    assert most_in_any_window(hits, rule.window_ms) <= 2 * rule.limit


@given(st.data(), rules("token_bucket"))
def test_token_bucket_is_a_bucket_that_refills_evenly(data: st.DataObject, rule: Rule) -> None:
    key, now = Key(), 5_000_000
    tokens, filled = Fraction(rule.burst), now
    for pause, cost in data.draw(arrivals(rule)):
        now += pause
        tokens = min(Fraction(rule.burst), tokens + Fraction((now - filled) * rule.limit, rule.window_ms))
        filled = now
        decision = key.check(rule, now, cost)
        assert decision.allowed == (tokens >= cost)
        if decision.allowed:
            tokens -= cost
        assert decision.remaining == int(tokens)


@given(st.data(), rules())
def test_remaining_is_exactly_what_would_be_admitted(data: st.DataObject, rule: Rule) -> None:
    key, now = Key(), 1_000_000_007
    for pause, cost in data.draw(arrivals(rule)):
        now += pause
        remaining = key.check(rule, now, cost).remaining
        assert 0 <= remaining <= rule.capacity
        assert remaining == 0 or key.look(rule, now, remaining).allowed
        assert not key.look(rule, now, remaining + 1).allowed


@given(st.data(), rules())
def test_retry_after_is_the_earliest_time_that_works(data: st.DataObject, rule: Rule) -> None:
    key, now = Key(), 1_000_000_007
    for pause, cost in data.draw(arrivals(rule)):
        now += pause
        decision = key.check(rule, now, cost)
        if decision.allowed:
            assert decision.retry_after == 0
        else:
            assert decision.retry_after > 0
            assert key.look(rule, now + decision.retry_after, cost).allowed
            assert not key.look(rule, now + decision.retry_after - 1, cost).allowed


@given(st.data(), rules())
def test_reset_after_is_the_earliest_time_of_a_clean_slate(data: st.DataObject, rule: Rule) -> None:
    key, now = Key(), 1_000_000_007
    for pause, cost in data.draw(arrivals(rule)):
        now += pause
        after = key.check(rule, now, cost).reset_after
        assert 0 <= after <= max(rule.window_ms, -(-rule.window_ms * rule.burst // rule.limit))
        assert key.look(rule, now + after, 0).reset_after == 0
        assert key.look(rule, now + after, 0).remaining == rule.capacity
        if after:
            assert key.look(rule, now + after - 1, 0).reset_after > 0


@given(st.data(), rules())
def test_looking_and_refusing_change_nothing(data: st.DataObject, rule: Rule) -> None:
    requests = data.draw(arrivals(rule))
    spied, plain, now = Key(), Key(), 1_000_000_007
    for pause, cost in requests:
        now += pause
        spied.check(rule, now, 0)
        spied.check(rule, now, rule.capacity + 1)
        assert spied.check(rule, now, cost) == plain.check(rule, now, cost)


def test_the_tutorials_mistake_is_not_made_across_a_window_boundary() -> None:
    rule = Rule("sliding_window", 100, 60_000, 100)
    late, early = [(59_999, 1)] + [(0, 1)] * 99, [(2, 1)] + [(0, 1)] * 99
    assert len(admitted(rule, late + early)) == 100
    loose = Rule("fixed_window", 100, 60_000, 100)
    assert len(admitted(loose, [(60_000 - 1_000_000_007 % 60_000 - 1, 1)] + [(0, 1)] * 99 + early)) == 200


def test_gcra_with_burst_of_the_limit_admits_almost_twice_the_limit() -> None:
    rule = Rule("gcra", 10, 1000, 10)
    hits = admitted(rule, [(0, 1)] * 10 + [(100, 1)] * 20)
    assert most_in_any_window(hits, 1000) == 19


@pytest.mark.parametrize(("old", "new"), [(10, 3), (3, 10), (7, 1)])
def test_gcra_keeps_the_time_a_key_is_ahead_when_the_limit_is_edited(old: int, new: int) -> None:
    before, after = Rule("gcra", old, 1000, old), Rule("gcra", new, 1000, old)
    _, state = gcra(before, None, 5000, old)
    decision, _ = gcra(after, state, 5000, 0)
    assert decision.reset_after == 1000


def test_a_lowered_limit_counts_at_once() -> None:
    key = Key()
    assert key.check(Rule("sliding_window", 10, 1000, 10), 5000, 8).remaining == 2
    lowered = Rule("sliding_window", 5, 1000, 5)
    assert key.check(lowered, 5000, 0).remaining == 0
    assert not key.check(lowered, 5000, 1).allowed
    assert fixed_window(lowered, (5000, 8), 5000, 0)[0].remaining == 0


def test_the_largest_numbers_fit_into_sqlite() -> None:
    rule = Rule("token_bucket", MAX_LIMIT, MAX_WINDOW_SECONDS * 1000, MAX_LIMIT)
    _, state = token_bucket(rule, None, 8_800_000_000_000, MAX_LIMIT)
    assert state[0] < 2**63
