"""`DurableObject`: the class that users of the runtime subclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from .namespace import NamespaceDescriptor
from .registry import registry
from .signatures import Method, method_table

if TYPE_CHECKING:
    from .context import AlarmInfo, Context
    from .requests import Request, Response
    from .sockets import WebSocket

HOOKS = frozenset(
    (
        "start",
        "alarm",
        "fetch",
        "web_socket_connect",
        "web_socket_message",
        "web_socket_close",
        "web_socket_resume",
    )
)

F = TypeVar("F", bound=Callable[..., Any])


def concurrent(function: F) -> F:
    """Let a method run beside other events. It has no storage except through `await self.ctx.run(function)`."""
    function._durable_concurrent = True  # type: ignore[attr-defined]
    return function


def is_concurrent(function: Callable[..., Any]) -> bool:
    """Whether a method or a hook is marked so."""
    return bool(getattr(function, "_durable_concurrent", False))


def methods_of(kind: type[DurableObject]) -> Mapping[str, Method]:
    """The class's callable methods by name, as they were when somebody first asked: patching the class changes no call."""
    return _table(kind)  # type: ignore[arg-type]  # mypy takes classes for unhashable


@cache
def _table(kind: type[DurableObject]) -> Mapping[str, Method]:
    return MappingProxyType(method_table(kind, DurableObject, HOOKS))


class DurableObject:
    """A small stateful server with a name: at most one live instance anywhere, one event at a time.

    Public `async def` methods can be called through a stub (`MyClass.namespace.get_by_name("x").method()`). Everything an
    event writes is one atomic commit, and its reply leaves when that commit is on disk. An event that raises leaves no
    trace, and its instance is discarded.
    """

    key: ClassVar[str] = ""
    """Stable name of the class: ids, files and REST paths derive from it. Default: the name of the Python class."""

    migrations: ClassVar[Sequence[str | Callable[[Any], None]]] = ()
    """SQL texts or functions of the context; each runs once per object, in order, before `start`."""

    durability: ClassVar[Literal["strict", "relaxed"]] = "strict"
    """"strict": replies wait until their commit is synced. "relaxed": until it is committed; synced within a second."""

    event_timeout: ClassVar[float | None] = None
    """Seconds an event may run; default from the settings."""

    idle_seconds: ClassVar[float | None] = None
    """Seconds without events after which the object is evicted; default from the settings."""

    max_sockets: ClassVar[int | None] = None
    """Sockets the object may hold; default from the settings."""

    max_queue: ClassVar[int | None] = None
    """Events that may wait, and `@concurrent` ones that may run at once; default from the settings."""

    backup: ClassVar[bool] = True
    """Whether changed objects are backed up on the schedule."""

    web_socket_error: ClassVar[str | None] = None
    """A text frame for a socket whose `web_socket_message` raised; None: it hears nothing."""

    namespace: ClassVar[NamespaceDescriptor] = NamespaceDescriptor(methods_of)
    """Where ids and stubs of this class come from."""

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "key" not in vars(cls):
            cls.key = cls.__name__
        if not abstract:
            registry.add(cls)

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    # -- hooks: override what you need

    async def start(self) -> None:
        """Runs before the first event of each incarnation."""

    async def alarm(self, info: AlarmInfo) -> None:
        """Runs when the alarm is due, at least once."""
        raise NotImplementedError(f"{type(self).__name__} set an alarm but has no alarm() hook")

    async def fetch(self, request: Request) -> Response:
        """Answers an HTTP request where a project mounts the class with `durable.gateway.object_urls`."""
        raise NotImplementedError(f"{type(self).__name__} has no fetch() hook")

    async def web_socket_connect(self, ws: WebSocket) -> None:
        """A client wants to connect: accept with `self.ctx.accept_web_socket(ws)`, or it is refused."""

    async def web_socket_message(self, ws: WebSocket, message: str | bytes) -> None:
        """A frame has arrived: text as str, binary as bytes."""

    async def web_socket_close(self, ws: WebSocket, code: int, reason: str, was_clean: bool) -> None:
        """A socket has closed; it is not listed any more, also when this raises. Code 1006 means that it vanished."""

    async def web_socket_resume(self) -> None:
        """Runs once after a takeover that found sockets already connected: tell them what they may have missed."""


def has_fetch(kind: type[DurableObject]) -> bool:
    """Whether objects of the class answer HTTP requests."""
    return kind.fetch is not DurableObject.fetch
