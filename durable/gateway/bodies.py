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
    """The decoder of one type, and for the check on duplicates its members: name, name as JSON, and attribute."""

    def __init__(self, kind: Any) -> None:
        self.decode = msgspec.json.Decoder(kind).decode
        self.members: tuple[tuple[str, bytes, str], ...] = ()
        if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
            self.members = tuple((name, b'"%s"' % name.encode(), attribute) for name, attribute in names)


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
        lists = [name for name, _, attribute in codec.members if _holds_structs(getattr(value, attribute))]
        # A member's name could be spelled in a second way, with an escape.
        if lists or any(b"\\u" in body or body.count(quoted) > 1 for _, quoted, _ in codec.members):
            _refuse_duplicates(body, lists)
    return value


def _holds_structs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], msgspec.Struct)


class _Object:
    """A JSON object as it was written."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        self.members = members

    def refuse_duplicates(self, pointer: str) -> None:
        """Refuse a name that two members have; `pointer` is this object's own."""
        seen: set[str] = set()
        for name, _ in self.members:
            if name in seen:
                raise invalid(f"The member {name!r} appears more than once.", f"{pointer}/{_escape(name)}")
            seen.add(name)


def _refuse_duplicates(body: bytes, lists: list[str]) -> None:
    """Look at the outermost object, and at those in its members called `lists`. `body` has been decoded as a struct."""
    outermost = json.loads(body, object_pairs_hook=_Object, parse_int=str)
    if not isinstance(outermost, _Object):
        return
    outermost.refuse_duplicates("")
    for name, value in outermost.members:
        if name in lists:
            for index, item in enumerate(value):
                if isinstance(item, _Object):  # a struct may be written as an array
                    item.refuse_duplicates(f"/{_escape(name)}/{index}")


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
