"""Memory that evicted objects have left is given back now and then."""

from durable.runtime.freed_memory import OBJECTS, SECONDS, FreedMemory
from durable.runtime.memory import give_back


def test_memory_is_given_back_after_many_objects_and_not_too_often() -> None:
    asked: list[object] = []
    freed = FreedMemory(asked.append)
    for _ in range(OBJECTS - 1):
        freed.noted()
    freed.look(now=100.0)
    assert not asked
    freed.noted()
    freed.look(now=100.0)
    assert asked == [give_back]
    for _ in range(OBJECTS):
        freed.noted()
    freed.look(now=100.0 + SECONDS / 2)
    assert len(asked) == 1
    freed.look(now=100.0 + SECONDS)
    assert len(asked) == 2


def test_giving_back_does_no_harm() -> None:
    give_back()
