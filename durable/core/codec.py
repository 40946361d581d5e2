"""How values travel and rest: msgpack with tags, so that every supported type comes back as itself.

Supported: None, bool, int of any size, float, str, bytes, datetime, date, UUID, Decimal, list, tuple, dict, set, and
(through annotations, see `durable.runtime.signatures`) msgspec structs and dataclasses. NaN and the infinities travel; lone
surrogates are refused, since they have no UTF-8 form. The first byte of an encoding is its version.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from durable.errors import ValueRefusedError

VERSION = b"\x01"
MAX_DEPTH = 64
MAX_BYTES = 32 * 1024 * 1024

_TUPLE, _SET, _INT, _DECIMAL, _DATETIME, _DATE, _UUID, _DICT = range(1, 9)
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_SCALARS = frozenset((type(None), bool, float, str, bytes))
_FLAT = _SCALARS | {int}
_TEXT = frozenset((str,))
_POSITIONAL_ONLY = VERSION + b"\x92%b\x80"  # msgpack's array of two: the arguments, and an empty map

_encoder = msgspec.msgpack.Encoder()
_encode = _encoder.encode
_decode_plain = msgspec.msgpack.Decoder().decode


def _ext(code: int, payload: bytes) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, payload)


def _lower(value: Any, depth: int) -> Any:
    """`value` in terms of what msgpack knows, tags for the rest."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        if _MIN_INT <= value <= _MAX_INT:
            return value
        return _ext(_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if depth >= MAX_DEPTH:
        raise ValueRefusedError(
            f"a value may be {MAX_DEPTH} levels deep; this one is deeper (or contains itself)"
        )
    depth += 1
    if kind is list:
        return [_lower(item, depth) for item in value]
    if kind is dict:
        return _lower_dict(value, depth)
    if kind is tuple:
        return _ext(_TUPLE, _flat(value) or _encode([_lower(item, depth) for item in value]))
    if kind is set:
        return _ext(_SET, _encode([_lower_key(item, depth) for item in value]))
    return _lower_rare(value, kind, depth)


def _is_flat(value: Any) -> bool:
    """Whether msgpack knows the value as it is, unless an integer in it is too large: a scalar, or a list or dict of such."""
    kind = type(value)
    if kind is list:
        return _FLAT.issuperset(map(type, value))
    if kind is dict:
        return _TEXT.issuperset(map(type, value)) and _FLAT.issuperset(map(type, value.values()))
    return kind in _FLAT


def _flat(items: tuple[Any, ...]) -> bytes | None:
    """What `_encode` makes of items of which none needs a tag; None where one may, or cannot be encoded."""
    if not _FLAT.issuperset(map(type, items)):
        return None
    try:
        return _encode(items)
    except (OverflowError, UnicodeEncodeError):  # an integer of more than 64 bits, a lone surrogate
        return None


def _lower_dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value):
        return {key: _lower(item, depth) for key, item in value.items()}
    pairs = [[_lower_key(key, depth), _lower(item, depth)] for key, item in value.items()]
    return _ext(_DICT, _encode(pairs))


def _lower_key(value: Any, depth: int) -> Any:
    """A key of a dict, or an item of a set: it must be one again when it is read, and structs rest as dicts and lists."""
    _check_key(value)
    return _lower(value, depth)


def _check_key(value: Any) -> None:
    if type(value) is tuple:
        for item in value:
            _check_key(item)
    elif isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        raise ValueRefusedError(
            f"a {type(value).__qualname__} cannot be in a set or the key of a dict: it rests as plain values, which can "
            "be neither; use a tuple"
        )


def _lower_rare(value: Any, kind: type, depth: int) -> Any:
    if kind is Decimal:
        return _ext(_DECIMAL, str(value).encode())
    if kind is datetime:
        return _ext(_DATETIME, value.isoformat().encode() + (b"~1" if value.fold else b""))
    if kind is date:
        return _ext(_DATE, value.isoformat().encode())
    if kind is UUID:
        return _ext(_UUID, value.bytes)
    if isinstance(value, msgspec.Struct):
        return _lower_struct(value, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _lower(getattr(value, field.name), depth) for field in dataclasses.fields(value)}
    raise ValueRefusedError(
        f"a value of type {kind.__module__}.{kind.__qualname__} cannot travel or rest; "
        "use plain values, or a dataclass or msgspec struct named in the annotations"
    )


def _lower_struct(value: msgspec.Struct, depth: int) -> Any:
    """As msgspec itself would write the struct: with its tag, and the names that its fields have outside."""
    config = value.__struct_config__
    items = [_lower(getattr(value, name), depth) for name in value.__struct_fields__]
    if config.array_like:
        return items if config.tag is None else [config.tag, *items]
    named = dict(zip(value.__struct_encode_fields__, items, strict=True))
    return named if config.tag is None else {config.tag_field: config.tag, **named}


def _lift(code: int, payload: memoryview) -> Any:
    data = bytes(payload)
    if code == _TUPLE:
        return tuple(_decode(data))
    if code == _SET:
        return set(_decode(data))
    if code == _DICT:
        return dict(_decode(data))
    if code == _INT:
        return int.from_bytes(data, "big", signed=True)
    if code == _DECIMAL:
        return Decimal(data.decode())
    if code == _DATETIME:
        text = data.decode()
        return (
            datetime.fromisoformat(text[:-2]).replace(fold=1)
            if text.endswith("~1")
            else datetime.fromisoformat(text)
        )
    if code == _DATE:
        return date.fromisoformat(data.decode())
    if code == _UUID:
        return UUID(bytes=data)
    raise ValueRefusedError(f"unknown tag {code} in a stored value")


_decode = msgspec.msgpack.Decoder(ext_hook=_lift).decode


def encode(value: Any, *, around: int = 0) -> bytes:
    """`value` as bytes; raises ValueRefusedError naming the type that cannot be kept, or the limit that was passed.

    Args:
        value: what is to be kept.
        around: how many of its levels are the runtime's own, and not counted.
    """
    try:
        try:
            data = VERSION + _encode(value if _is_flat(value) else _lower(value, -around))
        except OverflowError:  # an integer of more than 64 bits
            data = VERSION + _encode(_lower(value, -around))
    except (UnicodeEncodeError, ValueError) as error:
        raise ValueRefusedError(f"a string with lone surrogates cannot travel or rest ({error})") from None
    except RecursionError:
        raise ValueRefusedError(f"a value may be {MAX_DEPTH} levels deep") from None
    if len(data) > MAX_BYTES:
        raise ValueRefusedError(f"a value may have {MAX_BYTES} bytes encoded; this one has {len(data)}")
    return data


def encode_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The arguments of a call, each of which may have as many levels as any value."""
    flat = None if kwargs else _flat(args)
    if flat is None or len(flat) > MAX_BYTES - len(_POSITIONAL_ONLY):
        return encode([list(args), kwargs], around=2)
    return _POSITIONAL_ONLY % flat


def decode(data: bytes) -> Any:
    """The value that `encode` made `data` of: a copy, equal in value and type."""
    if data[:1] != VERSION:
        raise ValueRefusedError(f"this value was written in a format (version {data[:1].hex()}) unknown here")
    return _decode(memoryview(data)[1:])
