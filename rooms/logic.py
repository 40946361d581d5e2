"""The decisions of a room: which version of an element wins, who is here, what a guest is called.

Pure: no clock, no randomness, no storage; `rooms.board` and `rooms.chat` apply what is decided here.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .elements import ParsedElement
from .protocol import MAX_LIVE_ELEMENTS, FrameError

STRAY = "a"
"""First letter of the id of somebody who came without a cookie or session; accounts have "u", guests "g"."""
MAX_NAME = 32
MAX_VERSION_STEP = 100_000
"""How far one frame may raise an element's version. Excalidraw counts one version per pointer move, so this is almost half an hour of
dragging one element without a connection; and nobody can jump to a number that no later edit could exceed."""
MAX_BOARD_BYTES = 24 * 1024 * 1024

PALETTE = (
    "#c2255c", "#9c36b5", "#6741d9", "#3b5bdb", "#1971c2", "#0b7285",
    "#087f5b", "#2b8a3e", "#5c940d", "#a86100", "#d9480f", "#c92a2a",
)  # fmt: skip
"""Colours of people; white text on each has a contrast of at least 4 to 1 and none is mistaken for the page's own blue and red."""


@dataclass
class Pace:
    """A token bucket: `burst` at once, `per_second` in the long run. Times are seconds of any steady clock."""

    burst: float
    per_second: float
    left: float = -1.0
    at: float = 0.0

    def allows(self, now: float) -> bool:
        """Take one token if there is one."""
        refilled = self.burst if self.left < 0 else self.left + (now - self.at) * self.per_second
        self.left, self.at = min(self.burst, refilled), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(frozen=True)
class StoredElement:
    """What the room remembers of an element when it decides a merge. `size` is the length of its stored JSON."""

    version: int
    nonce: int
    deleted: bool
    size: int


@dataclass(frozen=True)
class Totals:
    """What is on the board: live elements, tombstones, and the length of everything stored."""

    live: int = 0
    tombstones: int = 0
    size: int = 0


@dataclass(frozen=True)
class Merge:
    """The outcome of a draw frame: the elements that won, and the board's totals with them."""

    winners: tuple[ParsedElement, ...]
    totals: Totals


def beats(version: int, nonce: int, other_version: int, other_nonce: int) -> bool:
    """Excalidraw's rule: the higher version wins, of equal versions the lower nonce."""
    return version > other_version or (version == other_version and nonce < other_nonce)


def merge(
    incoming: Iterable[ParsedElement], stored: Mapping[str, StoredElement], totals: Totals, frame_id: str
) -> Merge:
    """Decide a draw frame against what is stored; raises `FrameError` when it may not have any effect at all."""
    best: dict[str, ParsedElement] = {}
    for element in incoming:
        known = stored.get(element.id)
        if element.version > (known.version if known else 0) + MAX_VERSION_STEP:
            message = f"An element's version rises by at most {MAX_VERSION_STEP} at once."
            raise FrameError("version_too_high", message, frame_id, element.id)
        rival = best.get(element.id)
        if rival is None or beats(element.version, element.nonce, rival.version, rival.nonce):
            best[element.id] = element
    winners: list[ParsedElement] = []
    live, tombstones, size = totals.live, totals.tombstones, totals.size
    for element in best.values():
        known = stored.get(element.id)
        if known is not None and not beats(element.version, element.nonce, known.version, known.nonce):
            continue
        live += int(not element.deleted) - int(known is not None and not known.deleted)
        tombstones += int(element.deleted) - int(known is not None and known.deleted)
        size += len(element.stored) - (known.size if known else 0)
        winners.append(element)
    if live > MAX_LIVE_ELEMENTS and live > totals.live:
        raise FrameError("board_full", f"A board holds at most {MAX_LIVE_ELEMENTS} elements.", frame_id)
    if size > MAX_BOARD_BYTES and size > totals.size:
        raise FrameError("board_full", f"A board holds at most {MAX_BOARD_BYTES} bytes.", frame_id)
    return Merge(tuple(winners), Totals(live, tombstones, size))


def colour_of(user_id: str, taken: Collection[str] = ()) -> str:
    """A person's colour: always the same, unless somebody else who is here wears it and another one is free."""
    first = _number(user_id) % len(PALETTE)
    turned = PALETTE[first:] + PALETTE[:first]
    return next((colour for colour in turned if colour not in taken), turned[0])


def fallback_name(user_id: str) -> str:
    """What a guest without a name is called: "Guest 1234", the same for the same person."""
    return f"Guest {1000 + _number(user_id) % 9000}"


def clean_name(name: str, user_id: str) -> str:
    """A name that can be shown beside others: NFKC, one line, no invisible or direction-changing characters, at most 32 characters."""
    normal = unicodedata.normalize("NFKC", name[:400])
    visible = "".join(char if _is_visible(char) else " " if char.isspace() else "" for char in normal)
    composed = unicodedata.normalize("NFKC", visible)
    short = " ".join(composed.split())[:MAX_NAME].strip()
    return short if any(unicodedata.category(char)[0] in "LNSP" for char in short) else fallback_name(user_id)


_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that are no controls by category and yet draw nothing (fillers, the empty Braille pattern)."""


def _is_visible(char: str) -> bool:
    if char == " ":
        return True
    if char in _INVISIBLE or "\ufe00" <= char <= "\ufe0f":
        return False
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def distinct_people(attachments: Iterable[Any]) -> list[dict[str, Any]]:
    """One public entry per person, in the order of their first socket; attachments of another shape are skipped."""
    people: dict[str, dict[str, Any]] = {}
    for attachment in attachments:
        if isinstance(attachment, dict) and isinstance(attachment.get("user_id"), str):
            people.setdefault(attachment["user_id"], public(attachment))
    return list(people.values())


def public(attachment: Mapping[str, Any]) -> dict[str, Any]:
    """What others may know of a person."""
    return {"id": attachment["user_id"], "name": attachment["name"], "color": attachment["color"]}
