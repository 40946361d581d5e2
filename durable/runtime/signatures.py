"""What can be called on an object class, with which arguments: checked from the annotations, at run time."""

from __future__ import annotations

import dataclasses
import dis
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec

from durable.errors import ArgumentError, NotCallableError

_EXACT: frozenset[type] = frozenset((int, str, bytes, bool, float, type(None)))
_SUSPENDS = ("SEND", "YIELD_VALUE")  # what every kind of waiting is compiled to
MOST_FITTING = 64  # combinations of types, by which a method is called as good as always
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Method:
    """One callable method of an object class.

    Attributes:
        name: of the method.
        function: the plain function; its first argument is the instance.
        concurrent: may run beside other events, and has no storage.
        waits: may have to wait for something; see `may_wait`.
        result: annotation of what it returns, or Any.
        label: of the events that call it.
    """

    __slots__ = (
        "_fitting",
        "_positional",
        "_required",
        "_signature",
        "_types",
        "concurrent",
        "function",
        "label",
        "name",
        "result",
        "waits",
    )

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.label = f"call {name}"
        self.function = function
        self.concurrent = bool(getattr(function, "_durable_concurrent", False))
        self.waits = may_wait(function)
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())[1:]
        self._signature = signature.replace(parameters=parameters)
        hints = _hints(function)
        self._types = {parameter.name: hints.get(parameter.name, Any) for parameter in parameters}
        self.result = hints.get("return", Any)
        plain = all(parameter.kind in _POSITIONAL for parameter in parameters)
        self._positional = (
            [(p.name, self._types[p.name], _passing(self._types[p.name])) for p in parameters]
            if plain
            else None
        )
        self._required = sum(parameter.default is inspect.Parameter.empty for parameter in parameters)
        self._fitting: set[tuple[type, ...]] = set()  # types of arguments that are taken as they are

    def bind(self, args: list[Any] | tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """The arguments as the method takes them; raises ArgumentError naming the parameter that does not fit."""
        if (
            not kwargs
            and self._positional is not None
            and self._required <= len(args) <= len(self._positional)
        ):
            kinds = tuple(map(type, args))
            if kinds in self._fitting:
                return args, kwargs
            parameters = self._positional[: len(args)]
            if len(self._fitting) < MOST_FITTING and all(
                kind in passing for kind, (_, _, passing) in zip(kinds, parameters, strict=True)
            ):
                self._fitting.add(kinds)
            return [
                value if type(value) in passing else _fit(self.name, name, value, kind)
                for value, (name, kind, passing) in zip(args, parameters, strict=True)
            ], kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name}(): {error}") from None
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            annotation = self._types[name]
            if kind is inspect.Parameter.VAR_POSITIONAL:
                bound.arguments[name] = tuple(_fit(self.name, name, item, annotation) for item in value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                bound.arguments[name] = {
                    key: _fit(self.name, key, item, annotation) for key, item in value.items()
                }
            else:
                bound.arguments[name] = _fit(self.name, name, value, annotation)
        return bound.args, bound.kwargs

    def lift_result(self, value: Any) -> Any:
        """A result as the annotation declares it: structs and dataclasses are made again from what travelled."""
        if self.result is Any or type(value) is self.result or value is None:
            return value
        try:
            return _convert(value, self.result)
        except (msgspec.ValidationError, TypeError, ValueError):
            return value


@cache
def may_wait(function: Callable[..., Any]) -> bool:
    """Whether a handler may suspend: False only for an `async def` that has no `await`, `async for` or `async with` in it."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:  # what it returns may be anything
        return True
    return any(one.opname in _SUSPENDS for one in dis.get_instructions(code))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Each annotation as a type that values can be checked against; Any where it cannot be."""
    annotations: dict[str, Any] = function.__annotations__
    return {name: _checkable(_resolve(function, annotation)) for name, annotation in annotations.items()}


def _resolve(function: Callable[..., Any], annotation: Any) -> Any:
    """One by one: a name that exists for type checkers only leaves the other parameters checked."""
    try:
        return _evaluate(function, annotation)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def _evaluate(function: Callable[..., Any], annotation: Any) -> Any:
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, inspect.unwrap(function).__globals__, include_extras=True)["it"]


def unchecked(function: Callable[..., Any]) -> dict[str, str]:
    """The parameters (and "return") whose structs and dataclasses come as plain dicts and lists, each with the reason."""
    found: dict[str, str] = {}
    for name, annotation in function.__annotations__.items():
        try:
            kind = _evaluate(function, annotation)
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            found[name] = str(error)
            continue
        reason = _refusal(kind) if any(map(_is_record, _parts(kind))) else None
        if reason is not None:
            found[name] = reason
    return found


def _parts(kind: Any) -> list[Any]:
    """A type and all that it is made of: `list[Cat | None]` has Cat in it."""
    parts = [kind]
    for part in parts:
        parts += typing.get_args(part)
    return parts


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct))


def _convert(value: Any, kind: Any) -> Any:
    """`value` as `kind`. A text is no bytes: msgspec would take it for base64."""
    return msgspec.convert(value, kind, builtin_types=(bytes,))


def _checkable(kind: Any) -> Any:
    """`kind` if values can be checked against it, else Any."""
    if kind is None or kind is type(None) or isinstance(kind, typing.TypeVar):
        return Any
    return kind if _refusal(kind) is None else Any


def _refusal(kind: Any) -> str | None:
    """Why values cannot be checked against `kind`; None: they can be."""
    try:
        msgspec.json.schema(kind)
    except (TypeError, NameError, RuntimeError) as error:
        text = str(error)
        return "it holds what is no plain value" if "custom types" in text else text
    return None


def _passing(kind: Any) -> frozenset[type]:
    """The types whose values all fit as they are. To look at a union's parts anew for each value would cost several microseconds."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    parts = typing.get_args(kind) if is_union else (kind,)
    return _EXACT.intersection(part for part in parts if isinstance(part, type))


def _fit(method: str, name: str, value: Any, kind: Any) -> Any:
    if kind is Any or (type(value) is kind):
        return value
    try:
        if kind is float and type(value) is int:
            return float(value)
        return _convert(value, kind)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{method}(): parameter {name!r}: {error}") from None


def method_table(kind: type, base: type, hooks: frozenset[str]) -> dict[str, Method]:
    """The callable methods of `kind`: public `async def` ones that it or its own bases below `base` define."""
    table: dict[str, Method] = {}
    for parent in reversed(kind.__mro__):
        if parent is base or not issubclass(parent, base):
            continue
        for name, attribute in vars(parent).items():
            if name.startswith("_") or name in hooks or hasattr(base, name):
                continue
            if inspect.iscoroutinefunction(attribute):
                table[name] = Method(name, attribute)
            else:
                table.pop(name, None)
    return table


def find_method(table: Mapping[str, Method], key: str, name: str) -> Method:
    """The method of that name; raises NotCallableError."""
    try:
        return table[name]
    except KeyError:
        known = ", ".join(sorted(table)) or "none"
        raise NotCallableError(f"{key} has no callable method {name!r} (callable: {known})") from None
