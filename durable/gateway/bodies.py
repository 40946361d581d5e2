"""JSON in and out: one cached msgspec codec per type, and errors that point at the offending member."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin

import msgspec

from .problems import Problem, invalid

T = TypeVar("T")

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A signed 64-bit integer; anything beyond is refused with 422."""

encode = msgspec.json.Encoder().encode
"""Any JSON-able value to bytes."""

_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING_FIELD = re.compile(r"missing required field `(?P<name>[^`]*)`")


class _Codec:
    """The decoder of one type, and the quoted names of its members for the check on duplicates."""

    def __init__(self, kind: Any) -> None:
        self.decode = msgspec.json.Decoder(kind).decode
        self.members: tuple[tuple[str, bytes], ...] = ()
        if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            names = kind.__struct_encode_fields__
            self.members = tuple((name, b'"%s"' % name.encode()) for name in names)


_codec = cache(_Codec)


def decode_json(body: bytes, kind: type[T]) -> T:
    """Decode and check `body`.

    Raises:
        Problem: 400 for what is not JSON, 422 for JSON of another shape, with `errors` naming the member.
    """
    codec: _Codec = _codec(kind)  # type: ignore[arg-type]  # types are hashable
    try:
        value: T = codec.decode(body)
    except msgspec.ValidationError as error:
        raise _shape_problem(str(error)) from None
    except msgspec.DecodeError as error:
        raise Problem(400, "bad_json", f"The body is not valid JSON: {error}.") from None
    except UnicodeDecodeError:
        raise Problem(400, "bad_json", "The body is not valid JSON: text must be UTF-8.") from None
    except RecursionError:
        raise Problem(400, "bad_json", "The body is nested too deeply.") from None
    if body.count(b":") > 1:  # else it has one member at most
        is_escaped = b"\\u" in body  # a member's name could be spelled in a second way
        for name, quoted in codec.members:
            if is_escaped or body.count(quoted) > 1:
                _refuse_duplicates(body, name)
    return value


def _refuse_duplicates(body: bytes, name: str) -> None:
    names = [key for key, _ in _pairs(body)]
    if names.count(name) > 1:
        raise invalid(f"The member {name!r} appears more than once.", f"/{_escape(name)}")


def _pairs(body: bytes) -> list[tuple[str, Any]]:
    """The members of the outermost object, duplicates included. `body` is known to be valid JSON."""
    levels: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        levels.append(pairs)

    json.loads(body, object_pairs_hook=keep)
    return levels[-1] if levels else []  # the outermost object closes last


def _shape_problem(message: str) -> Problem:
    found = _AT.search(message)
    pointer = ""
    if found:
        message = message[: found.start()]
        pointer = "".join(
            f"/{_escape(member or index)}" for member, index in _STEP.findall(found["path"].removeprefix("$"))
        )
    member = _UNKNOWN_FIELD.search(message) or _MISSING_FIELD.search(message)
    if member:
        pointer += f"/{_escape(member['name'])}"
    return invalid(message.replace("`", "") + ".", pointer)


def _escape(member: str) -> str:
    return member.replace("~", "~0").replace("/", "~1")
