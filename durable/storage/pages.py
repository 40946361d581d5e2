"""Pages of a SQLite database, as they stand in its write-ahead log (https://www.sqlite.org/fileformat2.html)."""

from __future__ import annotations

PAGE_BYTES = 4096
FRAME_BYTES = PAGE_BYTES + 24
LOG_HEAD_BYTES = 32
_FIRST_PAGE_HEAD = 100
_LEAVES, _INNER = (10, 13), (2, 5)  # kinds of b-tree pages, by their first byte

Page = tuple[int, bytes, bytes]
"""Number; the bytes before the unused room in the middle; those after it."""


def frames_at(first: int) -> int:
    """Where frame `first`, counted from 0, begins in a log."""
    return LOG_HEAD_BYTES + first * FRAME_BYTES


def pages_of(frames: bytes) -> tuple[list[Page], int]:
    """The newest version of each page in some frames of a log, and how many pages the database has after the last one."""
    newest: dict[int, int] = {}
    for at in range(0, len(frames), FRAME_BYTES):
        newest[int.from_bytes(frames[at : at + 4], "big")] = at + 24
    size = int.from_bytes(frames[-FRAME_BYTES + 4 : -FRAME_BYTES + 8], "big")
    return [_shortened(number, frames, at) for number, at in newest.items()], size


def _shortened(number: int, frames: bytes, at: int) -> Page:
    """A page without its unused room, which b-tree pages have between their list of cells and the cells."""
    head = at + (_FIRST_PAGE_HEAD if number == 1 else 0)
    kind, end = frames[head], at + PAGE_BYTES
    if kind in _LEAVES or kind in _INNER:
        cells = int.from_bytes(frames[head + 3 : head + 5], "big")
        used = head + (8 if kind in _LEAVES else 12) + 2 * cells
        content = at + (int.from_bytes(frames[head + 5 : head + 7], "big") or 65536)
        if used <= content <= end:
            return number, frames[at:used], frames[content:end]
    return number, frames[at:end], b""


def whole(page: Page) -> bytes:
    """The 4096 bytes of a page, with zeros for the room that was left out."""
    _, before, after = page
    return before + bytes(PAGE_BYTES - len(before) - len(after)) + after
