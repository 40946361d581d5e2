"""How long what comes in quick succession waits for others, so that they leave together.

Each write costs a system call, and wakes who reads: several times what is done besides for one frame. So a frame that comes
alone leaves at once, one that comes shortly after the last write waits, and longer where others do come.
"""

BEAT_SECONDS = 0.004  # between two writes, at the least
MOST_BEATS = 4  # between two writes, while every write has several: one picture of a screen
MOST_BYTES = 64 * 1024  # that wait


def next_beats(beats: int, *, together: bool) -> int:
    """Beats from a write to the next one, after one that had waited for `beats`, in which several left together or only one."""
    return max(1, min(2 * beats, MOST_BEATS)) if together else 1
