"""How long a failed alarm waits before it is tried again, and when it is given up."""

from __future__ import annotations

MAX_RETRIES = 6
FIRST_DELAY_MS = 2000
JITTER = 0.25


def retry_delay(retries: int, random: float) -> int | None:
    """Milliseconds until try number `retries` + 1 after the first one failed, or None when it is given up.

    Args:
        retries: how often it has been tried again already.
        random: a draw from [0, 1); spreads retries by up to 25 %.
    """
    if retries >= MAX_RETRIES:
        return None
    return int(FIRST_DELAY_MS * 2**retries * (1 + JITTER * random))
