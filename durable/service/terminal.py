"""Whether a terminal is there: its end sends SIGHUP too, which then means to stop, not to load new code."""

from __future__ import annotations

import os


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
