"""Arguments and results against the annotations, at run time: what is taken, what is refused, and by which name."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional
from uuid import UUID

import msgspec
import pytest

from durable import DurableObject
from durable.core import codec
from durable.errors import ArgumentError
from durable.runtime import signatures
from durable.runtime.signatures import Method
from durable.testing import LocalObjects

if TYPE_CHECKING:
    from nowhere import Missing


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Camel(msgspec.Struct, rename="camel"):
    first_name: str


class Row(msgspec.Struct, array_like=True):
    id: int
    name: str


@dataclass
class Pair:
    left: str
    right: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    point: Point
    at: datetime
    children: list[Tree] = field(default_factory=list)


def takes(annotation: Any, *, result: bool = False) -> Method:
    """A method with one parameter `it` of that type, or that gives one back."""

    async def method(self: Any, it: Any) -> Any:
        return it

    method.__annotations__ = {"return" if result else "it": annotation}
    return Method("method", method)


def travelled(value: Any) -> Any:
    return codec.decode(codec.encode(value))


MOMENT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

FITS: list[tuple[Any, Any]] = [
    (int, 1),
    (int, 2**70),
    (list[int], [1, 2**70]),
    (float, 1.5),
    (bool, False),
    (bytes, b"\xff"),
    (str, ""),
    (Any, {"any": [1]}),
    (object, "x"),
    (Optional[int], None),  # noqa: UP045 - as some still write it
    (int | None, 5),
    (int | str, "a"),
    (int | str | None, None),
    (Point | None, Point(1)),
    (list[Point] | None, [Point(1), Point(2, 3)]),
    (dict[str, Pair | None], {"a": Pair("l", [1]), "b": None}),
    (dict[int, Point], {1: Point(1)}),
    (tuple[int, str], (1, "a")),
    (tuple[Point, ...], (Point(1), Point(2))),
    (set[int], {1, 2}),
    (frozenset[int], frozenset({1})),
    (list[tuple[int, set[str]]], [(1, {"a"})]),
    (Sequence[int], [1]),
    (Mapping[str, Decimal], {"a": Decimal("1.10")}),
    (Tree, Tree(Point(1), MOMENT, [Tree(Point(2), MOMENT)])),
    (Cat | Dog, Dog("rex")),
    (list[Cat | Dog], [Cat("tom"), Dog("rex")]),
    (Camel, Camel("Ada")),
    (Row, Row(1, "a")),
    (list[Row], [Row(1, "a")]),
    (Literal["a", "b"], "b"),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (datetime, MOMENT),
    (date, date(2026, 1, 2)),
    (UUID, UUID(int=7)),
    (Decimal | None, Decimal(3)),
    ("Point", Point(1)),
    ("Missing", "whatever"),
]


def plain(value: Any) -> Any:
    """frozenset cannot travel: it goes as a set and is made again at the other side."""
    return set(value) if isinstance(value, frozenset) else value


@pytest.mark.parametrize(("annotation", "value"), FITS, ids=str)
def test_C1_an_argument_comes_as_its_annotation_says(annotation: Any, value: Any) -> None:
    method = takes(annotation)
    for args, kwargs in (([plain(value)], {}), ([], {"it": plain(value)})):
        bound, named = method.bind(*travelled([args, kwargs]))
        (came,) = [*bound, *named.values()]
        assert (came, type(came)) == (value, type(value))


@pytest.mark.parametrize(("annotation", "value"), FITS, ids=str)
def test_C1_a_result_comes_as_its_annotation_says(annotation: Any, value: Any) -> None:
    came = takes(annotation, result=True).lift_result(travelled(plain(value)))
    assert (came, type(came)) == (value, type(value))


def test_C1_a_whole_number_does_for_a_float() -> None:
    ((came,), _) = takes(float).bind([1], {})
    assert (came, type(came)) == (1.0, float)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1"),
        (int, True),
        (int, 1.0),
        (int, None),
        (bool, 1),
        (float, "1"),
        (float, True),
        (float, 2**2000),
        (str, b"x"),
        (bytes, "data"),  # not even when it would do for base64
        (list[bytes], ["data"]),
        (int | None, "x"),
        (int | str, 1.5),
        (list[int], ["a"]),
        (list[int], 5),
        (tuple[int, str], (1,)),
        (tuple[int, str], ("a", 1)),
        (set[int], {"a"}),
        (dict[str, int], {1: 1}),
        (Mapping[str, int], {"a": "b"}),
        (Point, 5),
        (Point, {"x": "a"}),
        (Point | None, {}),
        (list[Point], [Point(1), 2]),
        (Pair, {"right": [1]}),
        (Cat | Dog, {"type": "Cow", "name": "x"}),
        (Literal["a", "b"], "c"),
        (Annotated[int, msgspec.Meta(ge=1)], 0),
        (UUID, "x"),
        (date, MOMENT),
    ],
    ids=str,
)
def test_C1_an_argument_that_does_not_fit_is_refused_by_name(annotation: Any, value: Any) -> None:
    method = takes(annotation)
    for args, kwargs in (([value], {}), ([], {"it": value})):
        with pytest.raises(ArgumentError, match=r"^method\(\): parameter 'it': ") as caught:
            method.bind(*travelled([args, kwargs]))
        assert caught.value.delivered == "no"


async def shapes(
    self: Any, first: int, /, second: str = "b", *rest: int, only: Point | None = None, **more: bool
) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        ([1], {}, ((1,), {})),
        ([1, "x"], {}, ((1, "x"), {})),
        ([1], {"second": "x"}, ((1, "x"), {})),
        ([1, "x", 2, 3], {}, ((1, "x", 2, 3), {})),
        ([1], {"only": Point(1)}, ((1,), {"only": Point(1)})),
        ([1], {"other": True, "only": None}, ((1,), {"only": None, "other": True})),
    ],
    ids=str,
)
def test_every_kind_of_parameter_is_bound_as_python_does(
    args: list[Any], kwargs: dict[str, Any], bound: Any
) -> None:
    assert Method("shapes", shapes).bind(*travelled([args, kwargs])) == bound


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (["1"], {}, "parameter 'first'"),
        ([1, 2], {}, "parameter 'second'"),
        ([1, None], {}, "parameter 'second'"),
        ([1, "x", 2, "3"], {}, "parameter 'rest'"),
        ([1], {"only": 5}, "parameter 'only'"),
        ([1], {"other": 1}, "parameter 'other'"),
        ([], {}, "missing a required .*argument: 'first'"),
        ([1, "x"], {"second": "y"}, "multiple values for argument 'second'"),
    ],
    ids=str,
)
def test_every_kind_of_parameter_is_refused_by_name(
    args: list[Any], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(ArgumentError, match=r"^shapes\(\): .*" + text):
        Method("shapes", shapes).bind(args, kwargs)


async def of_many_types(
    self: Any, a: int | str | None, b: float | bytes | bool = 0.0, c: int | None = None
) -> None: ...


def test_C1_arguments_are_checked_however_often_the_method_was_called() -> None:
    method = Method("of_many_types", of_many_types)
    fitting = [[a, b, c] for a in (1, "x", None) for b in (0.5, b"x", True) for c in (7, None)]
    for args in [*fitting, [1], ["x", 0.5], *fitting]:
        assert method.bind(args, {}) == (args, {})
        with pytest.raises(ArgumentError, match="parameter 'a'"):
            method.bind([2.5, *args[1:]], {})
        with pytest.raises(ArgumentError, match="parameter 'c'"):
            method.bind([args[0], 0.5, "x"], {})


def test_no_more_combinations_of_types_are_kept_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "MOST_FITTING", 2)
    method = Method("of_many_types", of_many_types)
    for args in [[1], ["x"], [None], [1, True], [1], [None]]:
        assert method.bind(args, {}) == (args, {})
    assert method._fitting == {(int,), (str,)}


async def only_named(self: Any, *, amount: int, note: str = "") -> None: ...


def test_what_is_only_named_cannot_be_given_by_place() -> None:
    method = Method("only_named", only_named)
    assert method.bind([], {"amount": 1}) == ((), {"amount": 1})
    with pytest.raises(ArgumentError, match="too many positional arguments"):
        method.bind([1], {})
    with pytest.raises(
        ArgumentError, match=re.escape("only_named(): got an unexpected keyword argument 'more'")
    ):
        method.bind([], {"amount": 1, "more": 1})


async def half_known(self: Any, amount: int, thing: Missing) -> None: ...


def test_a_name_for_type_checkers_only_leaves_the_other_parameters_checked() -> None:
    method = Method("half_known", half_known)
    assert method.bind([1, "anything"], {}) == ([1, "anything"], {})
    with pytest.raises(ArgumentError, match="'amount'"):
        method.bind(["1", "anything"], {})


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def test_a_decorated_method_is_checked_as_the_one_inside() -> None:
    with pytest.raises(ArgumentError, match="'amount'"):
        Method("half_known", decorated(half_known)).bind(["1", 2], {})


class Zoo(DurableObject):
    """Tagged structs, both ways and through storage."""

    async def swap(self, animals: list[Cat | Dog], at: Camel | None = None) -> list[Cat | Dog]:
        assert at is None or at == Camel("Ada")
        return [Dog(one.name) if isinstance(one, Cat) else Cat(one.name) for one in animals]


async def test_C1_structs_with_tags_and_other_names_travel(local: LocalObjects) -> None:
    zoo = Zoo.namespace.get_by_name("x")
    assert await zoo.swap([Cat("tom"), Dog("rex")], at=Camel("Ada")) == [Dog("tom"), Cat("rex")]
