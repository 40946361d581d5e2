"""Pages of a SQLite database, as they stand in its write-ahead log (https://www.sqlite.org/fileformat2.html)."""

from __future__ import annotations

from struct import Struct

PAGE_BYTES = 4096
FRAME_HEAD_BYTES = 24
FRAME_BYTES = FRAME_HEAD_BYTES + PAGE_BYTES
LOG_HEAD_BYTES = 32
_FIRST_PAGE_HEAD = 100
_HEADS = {2: 12, 5: 12, 10: 8, 13: 8}  # bytes of a b-tree page's head, by its kind: inner ones, leaves
_frame = Struct(
    f">II{FRAME_BYTES - 8}x"
)  # the page's number; in a commit's last frame, the database's size in pages
_tree = Struct(">BxxHH")  # the page's kind, how many cells it has, where the first of their content begins

Page = tuple[int, bytes, bytes]
"""Number; the bytes before the unused room in the middle; those after it."""


def frames_at(first: int) -> int:
    """Where frame `first`, counted from 0, begins in a log."""
    return LOG_HEAD_BYTES + first * FRAME_BYTES


def pages_of(frames: bytes) -> tuple[list[Page], int]:
    """The newest version of each page in some frames of a log, and how many pages the database has after the last one.

    Pages come without their unused room, which b-tree pages have between their list of cells and the cells.
    """
    heads = list(_frame.iter_unpack(frames))
    newest = {number: frame for frame, (number, _) in enumerate(heads)}
    pages: list[Page] = []
    for number, frame in newest.items():
        at = frame * FRAME_BYTES + FRAME_HEAD_BYTES
        head, end = at + (_FIRST_PAGE_HEAD if number == 1 else 0), at + PAGE_BYTES
        kind, cells, content = _tree.unpack_from(frames, head)
        used, content = head + _HEADS.get(kind, PAGE_BYTES) + 2 * cells, at + (content or 65536)
        if used <= content <= end:
            pages.append((number, frames[at:used], frames[content:end]))
        else:
            pages.append((number, frames[at:end], b""))
    return pages, heads[-1][1]


def whole(page: Page) -> bytes:
    """The 4096 bytes of a page, with zeros for the room that was left out."""
    _, before, after = page
    return before + bytes(PAGE_BYTES - len(before) - len(after)) + after
