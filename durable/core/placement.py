"""Where an object should live: rendezvous hashing, so that a change of workers moves only the objects it must."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def place(object_id: str, workers: Iterable[str]) -> str | None:
    """The worker that should own `object_id`, or None when there is no worker.

    Highest random weight (Thaler and Ravishankar, 1998): every process that knows the same workers chooses the same one.
    """
    key = object_id.encode()
    return max(
        workers,
        key=lambda worker: blake2b(key, key=worker.encode()[:64], digest_size=8).digest(),
        default=None,
    )
