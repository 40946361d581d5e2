"""Which Excalidraw elements a room accepts, as typed structures that drop whatever they do not know.

The room's clients render what other clients sent, so an element is decoded into one of the structures below (numbers finite and bounded,
strings short or patterned, links only http, https and mailto) and encoded again: unknown keys and `customData` vanish, nesting has a
fixed depth. Images are refused: their files are not stored. Only `id`, `type`, `version` and `versionNonce` must be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from .protocol import MAX_ELEMENT_BYTES, Coordinate, FrameError, FrameId

MAX_LINK = 2048

Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**32 - 1)]
Version = Annotated[int, Meta(ge=1)]
Timestamp = Annotated[float, Meta(ge=0, le=2**53)]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,64}\Z")]
Colour = Annotated[str, Meta(pattern=r"^[A-Za-z0-9#(),.%/ -]{0,64}\Z")]
OrderKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{1,512}\Z")]
Name = Annotated[str, Meta(max_length=500)]
Point = tuple[Coordinate, Coordinate]


class Roundness(Struct, omit_defaults=True):
    """How corners are rounded."""

    type: Annotated[int, Meta(ge=0, le=100)]
    value: Coordinate | UnsetType = UNSET


class BoundElement(Struct):
    """An arrow or text attached to this element."""

    id: FrameId
    type: Word


class Binding(Struct, omit_defaults=True):
    """Where an arrow's end sticks to another element."""

    elementId: FrameId
    focus: Coordinate | UnsetType = UNSET
    gap: Coordinate | UnsetType = UNSET
    fixedPoint: Point | UnsetType | None = UNSET
    mode: Word | UnsetType = UNSET


class Segment(Struct, omit_defaults=True):
    """A leg of an elbow arrow that somebody moved by hand."""

    start: Point
    end: Point
    index: Whole


class Element(Struct, omit_defaults=True, tag_field="type", kw_only=True):
    """What every element has. Names are Excalidraw's."""

    # ruff: noqa: N815
    id: FrameId
    version: Version
    versionNonce: Int32
    isDeleted: bool | UnsetType = UNSET
    x: Coordinate | UnsetType = UNSET
    y: Coordinate | UnsetType = UNSET
    width: Coordinate | UnsetType = UNSET
    height: Coordinate | UnsetType = UNSET
    angle: Coordinate | UnsetType = UNSET
    strokeColor: Colour | UnsetType = UNSET
    backgroundColor: Colour | UnsetType = UNSET
    fillStyle: Word | UnsetType = UNSET
    strokeWidth: Coordinate | UnsetType = UNSET
    strokeStyle: Word | UnsetType = UNSET
    roundness: Roundness | UnsetType | None = UNSET
    roughness: Coordinate | UnsetType = UNSET
    opacity: Coordinate | UnsetType = UNSET
    seed: Whole | UnsetType = UNSET
    index: OrderKey | UnsetType | None = UNSET
    groupIds: Annotated[list[FrameId], Meta(max_length=100)] | UnsetType = UNSET
    frameId: FrameId | UnsetType | None = UNSET
    boundElements: Annotated[list[BoundElement], Meta(max_length=1000)] | UnsetType | None = UNSET
    updated: Timestamp | UnsetType = UNSET
    link: str | UnsetType | None = UNSET
    locked: bool | UnsetType = UNSET


class Rectangle(Element, tag="rectangle"):
    """A rectangle."""


class Diamond(Element, tag="diamond"):
    """A diamond."""


class Ellipse(Element, tag="ellipse"):
    """An ellipse."""


class Embeddable(Element, tag="embeddable"):
    """A frame around a link; the page's content policy decides whether anything is loaded."""


class Frame(Element, tag="frame"):
    """A named area."""

    name: Name | UnsetType | None = UNSET


class MagicFrame(Element, tag="magicframe"):
    """A named area, of the kind that Excalidraw's generators use."""

    name: Name | UnsetType | None = UNSET


class Text(Element, tag="text"):
    """A text, free or inside a container."""

    text: str | UnsetType = UNSET
    originalText: str | UnsetType = UNSET
    fontSize: Coordinate | UnsetType = UNSET
    fontFamily: Whole | Word | UnsetType = UNSET
    textAlign: Word | UnsetType = UNSET
    verticalAlign: Word | UnsetType = UNSET
    containerId: FrameId | UnsetType | None = UNSET
    autoResize: bool | UnsetType = UNSET
    lineHeight: Coordinate | UnsetType = UNSET


class FreeDraw(Element, tag="freedraw"):
    """A freehand stroke."""

    points: list[Point] | UnsetType = UNSET
    pressures: list[Coordinate] | UnsetType = UNSET
    simulatePressure: bool | UnsetType = UNSET
    lastCommittedPoint: Point | UnsetType | None = UNSET


class Linear(Element):
    """What lines and arrows share."""

    points: list[Point] | UnsetType = UNSET
    lastCommittedPoint: Point | UnsetType | None = UNSET
    startBinding: Binding | UnsetType | None = UNSET
    endBinding: Binding | UnsetType | None = UNSET
    startArrowhead: Word | UnsetType | None = UNSET
    endArrowhead: Word | UnsetType | None = UNSET


class Line(Linear, tag="line"):
    """A line or polygon."""

    polygon: bool | UnsetType = UNSET


class Arrow(Linear, tag="arrow"):
    """An arrow."""

    elbowed: bool | UnsetType = UNSET
    fixedSegments: Annotated[list[Segment], Meta(max_length=1000)] | UnsetType | None = UNSET
    startIsSpecial: bool | UnsetType | None = UNSET
    endIsSpecial: bool | UnsetType | None = UNSET


AnyElement = Rectangle | Diamond | Ellipse | Embeddable | Frame | MagicFrame | Text | FreeDraw | Line | Arrow


class Tombstone(Struct):
    """What is kept of a deleted element, so that an older version cannot bring it back."""

    id: str
    type: str
    version: int
    versionNonce: int
    isDeleted: bool = True


@dataclass(frozen=True)
class ParsedElement:
    """One accepted element: its merge key and its clean JSON. `stored` is what the room keeps, `json` what it passes on."""

    id: str
    version: int
    nonce: int
    deleted: bool
    json: str
    stored: str


class _Identity(Struct):
    id: Any = None


_decoder: msgspec.json.Decoder[AnyElement] = msgspec.json.Decoder(AnyElement)
_identity = msgspec.json.Decoder(_Identity)
_encode = msgspec.json.Encoder().encode


def clean_link(link: str) -> str | None:
    """The link if following it is harmless (http, https with a host, or mailto), else None."""
    if len(link) > MAX_LINK or any(ord(char) <= 0x20 or char == "\\" for char in link):
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    if parts.scheme == "mailto":
        return link
    return link if parts.scheme in {"http", "https"} and parts.hostname else None


def parse_element(raw: Raw, frame_id: str | None = None) -> ParsedElement:
    """Validate one element of a draw frame, or raise `FrameError` naming it."""
    if len(raw) > MAX_ELEMENT_BYTES:
        message = f"An element is at most {MAX_ELEMENT_BYTES} bytes of JSON."
        raise FrameError("element_too_large", message, frame_id, _id_of(raw))
    try:
        element = _decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(
            "bad_element", f"Not an element this room accepts: {error}.", frame_id, _id_of(raw)
        ) from None
    deleted = element.isDeleted is True
    if isinstance(element, FreeDraw | Linear) and not deleted and not _has_points(element):
        message = "A stroke, line or arrow needs its points."
        raise FrameError("bad_element", message, frame_id, element.id)
    if isinstance(element.link, str):
        element.link = clean_link(element.link)
    text = _encode(element).decode()
    stored = text
    if deleted:
        kind = str(type(element).__struct_config__.tag)
        stored = _encode(Tombstone(element.id, kind, element.version, element.versionNonce)).decode()
    return ParsedElement(element.id, element.version, element.versionNonce, deleted, text, stored)


def _has_points(element: FreeDraw | Linear) -> bool:
    least = 1 if isinstance(element, FreeDraw) else 2
    return element.points is not UNSET and len(element.points) >= least


def _id_of(raw: Raw) -> str | None:
    try:
        value = _identity.decode(raw).id
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, str) and 0 < len(value) <= 64 else None
