"""Where an object should live: rendezvous hashing, so that a change of workers moves only the objects it must.

Workers are hashed by *slot*, the place that a supervisor keeps filled: who comes after a worker in its slot gets its objects, and no
others move. While old and new code run side by side, an object goes to the code that knows most migrations of its class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Protocol, TypeVar

UNKNOWN = -1  # version of a class that a worker has no code for


class Placed(Protocol):
    """What placement knows of a worker."""

    @property
    def slot(self) -> str:
        """The place it fills; two workers have the same while one takes over from the other."""

    @property
    def started(self) -> int:
        """When its process was started; of one slot's workers the latest counts."""

    @property
    def classes(self) -> Mapping[str, int]:
        """The object classes it has code for, and how many migrations each has."""


W = TypeVar("W", bound=Placed)


def place(object_id: str, slots: Iterable[str]) -> str | None:
    """The slot that should have `object_id`, or None when there is none.

    Highest random weight (Thaler and Ravishankar, 1998): every process that knows the same slots chooses the same one.
    """
    key = object_id.encode()
    return max(
        slots,
        key=lambda slot: blake2b(key, key=blake2b(slot.encode()).digest(), digest_size=8).digest(),
        default=None,
    )


def choose(object_id: str, class_key: str, workers: Iterable[W]) -> W | None:
    """The worker that should own an object, or None when there is no worker.

    Only those that know most migrations of the class are considered: an object that newer code has migrated cannot go back, and
    one that it has not migrated yet moves only once. Where nobody has code for the class, anybody may say so.
    """
    by_slot: dict[str, W] = {}
    known = list(workers)
    newest = max((worker.classes.get(class_key, UNKNOWN) for worker in known), default=UNKNOWN)
    for worker in sorted(known, key=lambda worker: worker.started):
        if worker.classes.get(class_key, UNKNOWN) == newest:
            by_slot[worker.slot] = worker
    slot = place(object_id, by_slot)
    return None if slot is None else by_slot[slot]
