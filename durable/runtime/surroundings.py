"""What a host is given by the process around it: ownership, ways to gateways, the catalog, settings and clocks.

The runtime knows nothing of Redis, sockets or Django; these protocols are all it asks of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from durable.core.envelope import Effects, Target
from durable.identity import ObjectId


class NotOwnerError(Exception):
    """Another worker owns the object.

    Args:
        owner: that worker's id, or None when nobody may own it here (this worker drains). A worker whose code is too old
            for the object names one that can own it.
    """

    def __init__(self, owner: str | None) -> None:
        super().__init__(owner)
        self.owner = owner


class Owners(Protocol):
    """Decides who should own an object."""

    async def claim(self, object_id: ObjectId, above: int) -> int:
        """Become the owner with an epoch above `above` (or the one already held); raises NotOwnerError."""

    def resting(self, object_id: ObjectId) -> int | None:
        """The epoch of an object that sleeps here and cannot be another's yet; None when only a claim can tell."""

    async def able(self, object_id: ObjectId, version: int) -> str | None:
        """A worker, by id, whose code knows `version` migrations of the object's class; None when there is none."""

    async def tell_taken(self, object_id: ObjectId, epoch: int) -> None:
        """Somebody still holds the object's file: if that is a living worker that has not noticed, it should let go."""

    async def rest(self, object_id: ObjectId, epoch: int | None) -> None:
        """The object sleeps, with that epoch in its file (None: without a file): its ownership may lapse after a while."""

    async def release(self, object_id: ObjectId) -> None:
        """Give the ownership up at once."""

    def forget(self, object_id: str | None = None) -> None:
        """What sleeps here may be another's by now: one object, or (None) each of them."""


class Outlets(Protocol):
    """The ways to the gateways."""

    def send(self, gateway: str, message: Effects) -> None:
        """Send a message to a gateway; kept for a moment when it is not connected."""

    async def last_auto_response(self, gateway: str, target: Target, socket: str) -> int | None:
        """When a gateway last answered on a socket in the object's place (ms since the epoch); raises UnavailableError."""

    async def live_gateways(self) -> frozenset[str]:
        """The gateways that live."""


class CatalogEntry(NamedTuple):
    """What the catalog should say of one object.

    Attributes:
        gone: it has no storage any more.
        changed: it may have written what no backup of it has.
    """

    key: str
    id: str
    name: str | None
    created_at: int
    last_active: int
    storage_bytes: int
    alarm: int | None
    gone: bool
    changed: bool = False


class Catalog(Protocol):
    """The list of objects that have storage, written behind."""

    def note(self, entry: CatalogEntry) -> None:
        """Have the entry written soon; returns at once."""


class RuntimeSettings(Protocol):
    """The settings that the runtime reads; see `durable.conf.DurableSettings`."""

    @property
    def idle_seconds(self) -> float: ...  # noqa: D102
    @property
    def event_timeout(self) -> float: ...  # noqa: D102
    @property
    def max_queue(self) -> int: ...  # noqa: D102
    @property
    def max_queue_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_sockets(self) -> int: ...  # noqa: D102
    @property
    def max_active(self) -> int: ...  # noqa: D102
    @property
    def worker_memory(self) -> int: ...  # noqa: D102
    @property
    def statement_timeout(self) -> float: ...  # noqa: D102
    @property
    def max_database_bytes(self) -> int: ...  # noqa: D102
    @property
    def max_alarms(self) -> int: ...  # noqa: D102
    @property
    def sync_threads(self) -> int: ...  # noqa: D102
    @property
    def journal(self) -> bool: ...  # noqa: D102


class Clocks(NamedTuple):
    """Where time and chance come from; tests move them."""

    clock: Callable[[], float]  # growing seconds, also while the machine sleeps
    now: Callable[[], int]  # ms since the epoch
    random: Callable[[], float]  # [0, 1)
