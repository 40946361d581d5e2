"""The encoding of values."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.codec import decode, encode
from durable.errors import ValueRefusedError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
OFFSETS = (
    st.none()
    | st.just(UTC)
    | st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours, minutes=30)))
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.binary()
    | st.dates()
    | st.datetimes(timezones=OFFSETS)
    | st.uuids()
    | st.decimals(allow_nan=False)
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(HASHABLE)
        | st.dictionaries(TEXT, inner)
        | st.dictionaries(HASHABLE, inner)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, all the way down (in Python 1 == True == 1.0)."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, set):
        return one == other and {type(item) for item in one} == {type(item) for item in other}
    if isinstance(one, datetime):
        return (one, one.utcoffset(), one.fold) == (other, other.utcoffset(), other.fold)
    return bool(one == other)


@given(VALUES)
def test_C1_every_supported_value_comes_back_as_itself(value: Any) -> None:
    assert same(decode(encode(value)), value)


def test_C1_nan_and_the_infinities_travel() -> None:
    assert math.isnan(decode(encode(float("nan"))))
    assert decode(encode([math.inf, -math.inf])) == [math.inf, -math.inf]


def test_C1_the_fold_of_a_repeated_hour_is_kept() -> None:
    value = datetime(2026, 10, 25, 2, 30, fold=1)
    assert decode(encode(value)).fold == 1


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["\ud800"], (("\ud800",),)], ids=ascii)
def test_C1_lone_surrogates_are_refused(value: Any) -> None:
    with pytest.raises(ValueRefusedError, match="surrogate"):
        encode(value)


def test_C1_subclasses_are_not_silently_narrowed() -> None:
    class Special(dict):  # type: ignore[type-arg]
        pass

    with pytest.raises(ValueRefusedError, match="Special"):
        encode(Special())


@dataclass(frozen=True)
class Point:
    """Can be in a set, but rests as a dict."""

    x: int


class Place(msgspec.Struct, frozen=True, array_like=True):
    """The same, as a list."""

    x: int


@pytest.mark.parametrize("value", [{Point(1)}, {Point(1): 1}, {(1, (Place(1),))}, [{Place(1)}]])
def test_C1_what_could_not_be_read_again_is_refused(value: Any) -> None:
    with pytest.raises(ValueRefusedError, match="set or the key of a dict"):
        encode(value)


def test_C1_another_version_is_refused() -> None:
    with pytest.raises(ValueRefusedError, match="version"):
        decode(b"\x02" + encode(1)[1:])


def test_C1_what_is_written_today_is_read_tomorrow() -> None:
    value = [None, 2**70, Decimal("1.5"), date(2026, 1, 2), UUID(int=5), (1, {2}), {3: 4}]
    written = bytes.fromhex(
        "0197c0c70903400000000000000000c70304312e35c70a06323032362d30312d3032d8070000000000000000"
        "0000000000000005c706019201d5029102d60891920304"
    )
    assert decode(written) == value
    assert encode(value) == written


@pytest.mark.parametrize(("depth", "fits"), [(64, True), (65, False)])
def test_C9_64_levels_fit(depth: int, fits: bool) -> None:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    if fits:
        assert decode(encode(value)) == value
        return
    with pytest.raises(ValueRefusedError):
        encode(value)


def test_C9_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueRefusedError):
        encode(value)
