"""How much is measured: the full run, and a tiny one that shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of a run."""

    rounds: int = 3
    """Rounds of what is timed; the median is quoted."""

    seconds: float = 3.0
    """Of each round of a closed loop."""

    activations: int = 1000
    """Objects that are woken in each round."""

    residents: int = 3000
    """Objects held in memory at once; each has up to three descriptors."""

    sleepers: int = 100_000
    """Objects that have files and sleep: so many at most."""

    making_seconds: float = 600.0
    """In which they are made: a disk may be slow, and what each of them costs needs no more."""

    sockets: int = 10_000
    """Open sockets of one gateway."""

    boards: tuple[int, ...] = (50, 500, 5000)
    """Elements of the boards that are joined."""

    histories: tuple[int, ...] = (10, 100, 1000, 10_000)
    """Messages in a room, one size after the other."""

    between_messages: float = 0.0
    """Seconds, while a history is made."""

    file_sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000, 100_000_000)
    """Bytes of an object's file, one size after the other."""

    alarms: int = 1000
    """That are due at once."""


FULL = Plan()
QUICK = Plan(
    rounds=3,
    seconds=1.0,
    activations=300,
    residents=1000,
    sleepers=30_000,
    making_seconds=240.0,
    sockets=4000,
    histories=(10, 100, 1000),
    file_sizes=(100_000, 1_000_000, 10_000_000),
)
TINY = Plan(
    rounds=1,
    seconds=0.2,
    activations=5,
    residents=20,
    sleepers=40,
    sockets=20,
    boards=(10,),
    histories=(5,),
    file_sizes=(100_000,),
    alarms=10,
)
