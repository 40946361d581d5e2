"""The clocks and the chance of a real process; tests move their own."""

from __future__ import annotations

import random
import time

from durable.runtime.surroundings import Clocks

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds that grow also while the machine sleeps, so that a lease runs out then too."""
    return time.clock_gettime(_CLOCK)


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


CLOCKS = Clocks(boot_clock, wall_clock, random.random)
