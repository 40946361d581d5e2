"""Why an activation ends, and so what becomes of the events that still wait."""

from __future__ import annotations

from enum import Enum, auto


class Leave(Enum):
    """Why an activation ends."""

    IDLE = auto()  # evicted: a new activation takes the events that wait
    MOVE = auto()  # drained or transferred: they go to the next owner
    LOST = auto()  # the lease or the fence is lost: they go to the next owner, nothing more is released
