"""Namespaces and stubs: how an object is named and called. Making one contacts nothing and creates nothing.

A stub is typed as its class: since all callable methods are `async def`, the class's own signatures are the stub's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from durable.core import codec
from durable.identity import ObjectId, id_from_name, id_from_string, new_unique_id

from .signatures import Method, find_method

if TYPE_CHECKING:
    from .objects import DurableObject

T = TypeVar("T", bound="DurableObject")


class Dispatcher(Protocol):
    """Brings a call to the object's one owner."""

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """The encoded result; raises DurableError."""


task_dispatcher: ContextVar[Dispatcher | None] = ContextVar("durable_task_dispatcher", default=None)
"""The dispatcher of the object in whose code we are, if any: its calls carry their origin and wait for its commits."""


class Dispatch:
    """Which dispatcher stubs of this process use: set once, where the process is wired."""

    def __init__(self) -> None:
        self._find: Callable[[], Dispatcher] | None = None

    def use(self, find: Callable[[], Dispatcher] | None) -> None:
        """From now on stubs ask `find` for their dispatcher at each call; None: they have none."""
        self._find = find

    @contextmanager
    def used(self, find: Callable[[], Dispatcher]) -> Iterator[None]:
        """Within this block stubs ask `find`; then what was asked before."""
        before = self._find
        self._find = find
        try:
            yield
        finally:
            self._find = before

    def current(self) -> Dispatcher:
        """The dispatcher for a call made now."""
        inside = task_dispatcher.get()
        if inside is not None:
            return inside
        if self._find is None:
            raise RuntimeError(
                "objects can be called inside a running service only: start it with `manage.py serve` or `runserver`, "
                "or use the fixtures of durable.testing"
            )
        return self._find()


dispatch = Dispatch()


class Stub:
    """Stands for one object: its methods are the class's, each call goes to the one owner."""

    __slots__ = ("_methods", "id")

    def __init__(self, methods: Mapping[str, Method], object_id: ObjectId) -> None:
        self._methods = methods
        self.id = object_id

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("__"):
            raise AttributeError(name)
        method = find_method(self._methods, self.id.class_key, name)
        # Seen as a coroutine function, by async_to_sync for one.
        return partial(_caller(self.id.class_key, method), self.id)

    def __repr__(self) -> str:
        return f"<stub of {self.id!r}>"


@cache
def _caller(class_key: str, method: Method) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What calls a method; it bears the method's name, which Python tells whoever forgets to await."""

    async def call(object_id: ObjectId, /, *args: Any, **kwargs: Any) -> Any:
        arguments = codec.encode_arguments(args, kwargs)
        result = await dispatch.current().call(object_id, method.name, arguments)
        return method.lift_result(codec.decode(result))

    call.__name__, call.__qualname__ = method.name, f"{class_key}.{method.name}"
    return call


class Namespace(Generic[T]):
    """All objects of one class: makes ids and stubs."""

    def __init__(self, kind: type[T], methods: Mapping[str, Method]) -> None:
        self._kind = kind
        self._methods = methods

    def id_from_name(self, name: str) -> ObjectId:
        """The id of the object called `name`; the same at every time and place. Raises InvalidNameError."""
        return id_from_name(self._kind.key, name)

    def new_unique_id(self) -> ObjectId:
        """An id that nobody has had before; such an object has no name."""
        return new_unique_id(self._kind.key, os.urandom)

    def id_from_string(self, text: str) -> ObjectId:
        """The id written as 64 hex digits; raises InvalidNameError unless it belongs to this class."""
        return id_from_string(self._kind.key, text)

    def get(self, object_id: ObjectId) -> T:
        """A stub of the object with that id. Raises TypeError for what is no id of this class."""
        if not isinstance(object_id, ObjectId):
            raise TypeError(
                f"get() takes an ObjectId, not {type(object_id).__name__}: get_by_name() takes a name, id_from_string() 64 hex digits"
            )
        if object_id.class_key != self._kind.key:
            raise TypeError(f"this id belongs to class {object_id.class_key!r}, not {self._kind.key!r}")
        return cast(T, Stub(self._methods, object_id))

    def get_by_name(self, name: str) -> T:
        """A stub of the object called `name`."""
        return self.get(self.id_from_name(name))


class NamespaceDescriptor:
    """Gives each object class its own `Namespace`, typed as the class.

    Args:
        methods: gives the callable methods of a class.
    """

    def __init__(self, methods: Callable[[type[DurableObject]], Mapping[str, Method]]) -> None:
        self._methods = methods

    def __get__(self, _instance: Any, owner: type[T]) -> Namespace[T]:
        return Namespace(owner, self._methods(owner))
