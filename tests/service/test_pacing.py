"""When frames that wait for others leave."""

import asyncio

from durable.core.pacing import MOST_BEATS, next_beats
from durable.service.pacing import Pacer


class Held:
    """A connection that holds something back."""

    def __init__(self, name: str, flushed: list[str], done: asyncio.Event | None = None) -> None:
        self.name = name
        self.flushed = flushed
        self.done = done

    def flush(self) -> None:
        self.flushed.append(self.name)
        if self.done is not None:
            self.done.set()


async def test_those_that_wait_longer_leave_later_and_those_of_one_moment_in_their_order() -> None:
    pacer, flushed, done = Pacer(), [], asyncio.Event()  # type: ignore[var-annotated]
    for name, beats in (("last", MOST_BEATS), ("a", 1), ("c", 2), ("b", 1)):
        pacer.hold(Held(name, flushed, done if name == "last" else None), beats)
    assert flushed == []
    await asyncio.wait_for(done.wait(), 5)
    assert flushed == ["a", "b", "c", "last"]


async def test_it_begins_anew_after_a_rest() -> None:
    pacer, flushed = Pacer(), []  # type: ignore[var-annotated]
    for turn in range(2 * MOST_BEATS + 1):  # wherever its beat stands
        done = asyncio.Event()
        pacer.hold(Held(f"{turn}", flushed, done), turn % MOST_BEATS + 1)
        await asyncio.wait_for(done.wait(), 5)
    assert flushed == [f"{turn}" for turn in range(2 * MOST_BEATS + 1)]


async def test_one_loop_has_one_pacer() -> None:
    assert Pacer.of(asyncio.get_running_loop()) is Pacer.of(asyncio.get_running_loop())


async def test_what_is_held_while_others_are_flushed_waits_for_its_own_moment() -> None:
    pacer, flushed, done = Pacer(), [], asyncio.Event()  # type: ignore[var-annotated]

    class Again(Held):
        def flush(self) -> None:
            super().flush()
            pacer.hold(Held("again", flushed, done), 1)

    pacer.hold(Again("first", flushed), 1)
    await asyncio.wait_for(done.wait(), 5)
    assert flushed == ["first", "again"]


async def test_what_need_not_wait_leaves_when_the_turn_ends_and_what_comes_then_with_the_next() -> None:
    pacer, flushed = Pacer(), []  # type: ignore[var-annotated]
    for name in ("a", "b"):
        pacer.hold(Held(name, flushed), 0)
    assert flushed == []
    await asyncio.sleep(0)
    assert flushed == ["a", "b"]
    pacer.hold(Held("c", flushed), 0)
    await asyncio.sleep(0)
    assert flushed == ["a", "b", "c"]


def test_who_has_company_waits_longer_up_to_a_bound_and_who_has_none_does_not() -> None:
    waits = [1]
    for _ in range(4):
        waits.append(next_beats(waits[-1], together=True))
    assert waits == [1, 2, 4, 4, 4]
    assert next_beats(0, together=True) == 1
    assert next_beats(4, together=False) == 1
