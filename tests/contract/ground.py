"""What the suite asks of the ground it stands on."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar

from durable.identity import ObjectId

from .subject.objects import Subject

Call = Callable[[ObjectId, str, bytes], Awaitable[bytes]]
Frame = str | bytes
Found = TypeVar("Found")
WITHIN = 20.0  # seconds that anything may take on a busy machine


class Client(Protocol):
    """A client's end of a WebSocket."""

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""

    async def send(self, frame: Frame) -> None:
        """Send a frame; does not wait until it is handled."""

    async def receive(self) -> Frame:
        """The next frame; fails when none comes."""

    async def close(self, code: int) -> None:
        """Close the connection."""

    async def vanish(self) -> None:
        """End the connection without a word."""

    async def closed(self) -> int:
        """The code with which the other side has closed it."""


class Ground(Protocol):
    """A running system of objects. Stubs made by the test work while it is entered."""

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """A call as it arrives from a process that does not know the class."""

    def elsewhere(self) -> AbstractAsyncContextManager[Call]:
        """`call` of another process, which knows nothing of where objects are."""

    async def connect(self, subject: Subject, name: str = "", tags: tuple[str, ...] = ()) -> Client:
        """Open a WebSocket."""

    async def evict(self, subject: Subject) -> None:
        """Put an object to sleep."""

    async def kill_owner(self, subject: Subject) -> None:
        """Let the object's worker die without a word."""

    async def drain_owner(self, subject: Subject) -> None:
        """Have the object's worker give all its objects away."""

    async def transfer(self, subject: Subject) -> None:
        """Have another worker take the object."""

    async def state(self, subject: Subject) -> Literal["active", "asleep", "absent"]:
        """Whether the object is in memory, only on disk, or neither."""

    async def show(self, subject: Subject) -> dict[str, Any]:
        """What an operator is shown of an active object."""

    async def eventually(self, condition: Callable[[], Awaitable[Found]]) -> Found:
        """Let time pass until a condition gives something true, and return that; fails when it takes too long."""
