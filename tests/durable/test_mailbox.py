"""The bounded queue of an object."""

from typing import Any

import pytest

from durable.errors import OverloadedError
from durable.runtime.events import Event
from durable.runtime.mailbox import Mailbox


async def nothing(_activation: Any) -> bytes | None:
    return None


def event(label: str, size: int = 0) -> Event:
    return Event(label, nothing, size=size)


def test_G2_first_in_first_out_but_for_the_runtimes_own() -> None:
    mailbox = Mailbox(10, 1000, 30.0)
    mailbox.put(event("a"), 0.0)
    mailbox.put(event("b"), 0.0)
    mailbox.put_first(event("own"), 0.0)
    assert [mailbox.take().label for _ in range(3)] == ["own", "a", "b"]
    assert len(mailbox) == 0


def test_L1_count_bytes_and_age_are_bounded() -> None:
    mailbox = Mailbox(2, 100, 30.0)
    mailbox.put(event("a", 60), 0.0)
    with pytest.raises(OverloadedError, match="bytes"):
        mailbox.put(event("b", 50), 1.0)
    mailbox.put(event("c", 40), 1.0)
    with pytest.raises(OverloadedError, match="2 events"):
        mailbox.put(event("d"), 1.0)
    mailbox.take()
    with pytest.raises(OverloadedError, match="longer"):
        mailbox.put(event("e"), 32.0)


def test_L1_an_empty_queue_takes_anything() -> None:
    mailbox = Mailbox(1, 10, 30.0)
    mailbox.put(event("large", 1000), 0.0)
    assert mailbox.take().label == "large"
    mailbox.put(event("again", 1000), 0.0)


def test_L1_the_runtimes_own_events_are_never_refused() -> None:
    mailbox = Mailbox(1, 10, 30.0)
    mailbox.put(event("a"), 0.0)
    mailbox.put_first(event("own"), 99.0)
    assert [waiting.label for waiting in mailbox.drain()] == ["own", "a"]
    mailbox.put(event("b"), 99.0)
