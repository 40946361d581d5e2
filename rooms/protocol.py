"""The frames of a room: what a client may say, and how the server's answers are spelled.

Pure: text in, values or text out, no sockets and no storage. A frame is one JSON object with its `type` first. Parsing is strict
about types and sizes and lenient about unknown keys, which are ignored. Elements of a draw frame stay raw here; `rooms.elements`
validates them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

MAX_FRAME_BYTES = 256 * 1024
MAX_TEXT = 4000
MAX_ELEMENTS_PER_FRAME = 500
MAX_ELEMENT_BYTES = 128 * 1024
MAX_LIVE_ELEMENTS = 5000
HISTORY_PAGE = 50
SNAPSHOT_MESSAGES = 100
DELTA_MESSAGES = 1000
PART_BYTES = 60 * 1024
BURST_BYTES = 1024 * 1024
"""What is sent in one go at most, of messages and of elements each: gateways buffer a few MiB for a client that reads slowly."""

ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,64}\Z"
CURSOR_PATTERN = r"^(snapshot|delta)/[0-9]{1,15}/[A-Za-z0-9_.:-]{0,64}\Z"
MAX_COORDINATE = 1e7
MAX_SEQ = 2**53

FrameId = Annotated[str, Meta(pattern=ID_PATTERN)]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
Coordinate = Annotated[float, Meta(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]

MALFORMED = frozenset({"bad_json", "bad_frame", "unknown_type"})
"""Codes that say the client does not speak the protocol; three in a row close its socket."""


class FrameError(ValueError):
    """A frame that has no effect. `code` is for programs, the message for people, `frame_id` is the client's id if it gave one."""

    def __init__(
        self, code: str, message: str, frame_id: str | None = None, element_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.frame_id = frame_id
        self.element_id = element_id

    def render(self) -> str:
        """The error frame that tells the client."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.frame_id is not None:
            fields["id"] = self.frame_id
        if self.element_id is not None:
            fields["element"] = self.element_id
        return render("error", **fields)


class Chat(Struct, frozen=True, tag="chat"):
    """A message to post; `id` makes a repeat harmless."""

    id: FrameId
    text: str


class Draw(Struct, frozen=True, tag="draw"):
    """Elements to add or change, each still unparsed JSON."""

    id: FrameId
    elements: list[Raw]


class Cursor(Struct, frozen=True, omit_defaults=True):
    """A pointer in scene coordinates."""

    x: Coordinate
    y: Coordinate
    tool: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,32}\Z")] | UnsetType = UNSET


class Presence(Struct, frozen=True, omit_defaults=True, tag="presence"):
    """Where somebody points and what they select; never stored."""

    cursor: Cursor | UnsetType | None = UNSET
    button: Literal["up", "down"] | UnsetType = UNSET
    selected: Annotated[list[FrameId], Meta(max_length=50)] | UnsetType = UNSET
    typing: bool | UnsetType = UNSET


class Sync(Struct, frozen=True, tag="sync"):
    """A client that noticed a gap asks for everything after `since`."""

    since: Seq = 0


class More(Struct, frozen=True, tag="more"):
    """A request for the rest of a welcome; `next` is what its last frame said."""

    next: Annotated[str, Meta(pattern=CURSOR_PATTERN)]


class History(Struct, frozen=True, tag="history"):
    """A request for messages older than `before`."""

    before: Seq


class Rename(Struct, frozen=True, tag="rename"):
    """A guest's new name, cleaned later."""

    name: Annotated[str, Meta(max_length=400)]


ClientFrame = Chat | Draw | Presence | Sync | More | History | Rename


class _Head(Struct):
    type: str
    id: Any = None


_frame: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_head = msgspec.json.Decoder(_Head)
_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(ClientFrame))


def parse(message: str | bytes) -> ClientFrame:
    """Turn one client frame into a value, or raise `FrameError` (the frame then has no effect)."""
    if isinstance(message, bytes):
        raise FrameError("bad_frame", "Frames are JSON text, not binary.")
    try:
        data = message.encode()
    except UnicodeEncodeError:
        raise FrameError("bad_json", "The frame is not valid Unicode.") from None
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError("bad_frame", f"A frame is at most {MAX_FRAME_BYTES} bytes.")
    try:
        frame = _frame.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _what_is_wrong(data, error) from None
    _check_limits(frame)
    return frame


def _what_is_wrong(data: bytes, wrong: Exception) -> FrameError:
    """The answer to a frame that could not be decoded."""
    try:
        head = _head.decode(data)
    except msgspec.ValidationError as error:
        return FrameError("bad_frame", f"A frame is a JSON object with a type: {error}.")
    except (msgspec.DecodeError, RecursionError):
        return FrameError("bad_json", "The frame is not JSON.")
    frame_id = head.id if isinstance(head.id, str) and 0 < len(head.id) <= 64 else None
    if head.type not in _TYPES:
        return FrameError("unknown_type", f"There is no frame of type {head.type[:40]!r}.", frame_id)
    return FrameError("bad_frame", f"Not a valid {head.type} frame: {wrong}.", frame_id)


def _check_limits(frame: ClientFrame) -> None:
    match frame:
        case Chat(id=frame_id, text=text):
            if len(text) > MAX_TEXT:
                raise FrameError("text_too_long", f"A message is at most {MAX_TEXT} characters.", frame_id)
            if not text.strip():
                raise FrameError("text_empty", "A message needs some text.", frame_id)
        case Draw(id=frame_id, elements=elements):
            if len(elements) > MAX_ELEMENTS_PER_FRAME:
                message = f"A draw frame holds at most {MAX_ELEMENTS_PER_FRAME} elements."
                raise FrameError("too_many_elements", message, frame_id)
        case _:
            pass


@dataclass
class Strikes:
    """Counts malformed frames in a row; a frame that is understood forgives the earlier ones."""

    allowed: int = 3
    count: int = 0

    def record(self, error: FrameError | None) -> bool:
        """Note one frame; True when the socket should now be closed."""
        if error is None or error.code not in MALFORMED:
            self.count = 0
            return False
        self.count += 1
        return self.count >= self.allowed


_encode = msgspec.json.Encoder().encode


def render(kind: str, /, **fields: Any) -> str:
    """One server frame; values may be `msgspec.Raw` or structs."""
    return _encode({"type": kind, **fields}).decode()


def raw_list(items: Iterable[str]) -> Raw:
    """A JSON array of texts that are JSON already."""
    return Raw(("[" + ",".join(items) + "]").encode())


def parts(
    messages: Iterable[str], elements: Iterable[str], first_budget: int = PART_BYTES
) -> Iterator[tuple[Raw, Raw]]:
    """Split ready JSON texts into (messages, elements) pairs of at most about `PART_BYTES` each; always at least one pair."""
    budget = first_budget
    size = 0
    chunk: tuple[list[str], list[str]] = ([], [])
    for which, items in enumerate((messages, elements)):
        for item in items:
            cost = len(item) + 1
            if size and size + cost > budget:
                yield raw_list(chunk[0]), raw_list(chunk[1])
                chunk, size, budget = ([], []), 0, PART_BYTES
            chunk[which].append(item)
            size += cost
    yield raw_list(chunk[0]), raw_list(chunk[1])
