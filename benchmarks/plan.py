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


FULL = Plan()
QUICK = Plan(
    rounds=3,
    seconds=1.0,
    activations=300,
    residents=1000,
    sleepers=30_000,
    making_seconds=240.0,
    sockets=4000,
)
TINY = Plan(rounds=1, seconds=0.05, activations=5, residents=20, sleepers=40, sockets=20)
