"""What an operator does to an object as a whole, as events of its own: copy it to a file, delete it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from durable.core import codec
from durable.core.envelope import Call
from durable.storage.images import write_image

from .events import Answer, Event

if TYPE_CHECKING:
    from .activation import Activation

DELETE = "_do_delete"
"""The method of a call that deletes its object: no name that a stub or an operator could call."""

LEFT_SECONDS = 3600.0  # after which a file that nobody has fetched is removed


def export_event(folder: Path, answer: Answer) -> Event:
    """Copy the object to a file in `folder` while nothing writes to it; answers the file's name, None if it stores nothing."""

    async def run(activation: Activation) -> bytes | None:
        store = activation.gate.store
        if not store.has_file:
            return codec.encode(None)
        _make_ready(folder)
        path = folder / f"{uuid.uuid4().hex}.sqlite3"
        try:
            for _ in write_image(store.database.connection, path):
                await asyncio.sleep(0)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return codec.encode(path.name)

    return Event("export", run, answer, needs_instance=False)


def _make_ready(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_SECONDS:
                path.unlink()


def delete_event(request: Call, answer: Answer) -> Event:
    """Delete all that the object stores, close its sockets, and end the instance; answers whether it had stored anything.

    None of the class's code runs, so that an object whose `start` fails can be deleted too.
    """

    async def run(activation: Activation) -> bytes | None:
        had_file = activation.gate.store.has_file
        if had_file:
            for ws in activation.sockets:
                activation.effect(ws.gateway, ("close", ws.id, 1001, "deleted"))
                activation.sockets.forget(ws)
            activation.storage().delete_all()
        activation.host.evict(str(activation.object_id))
        return codec.encode(had_file)

    return Event(
        "delete",
        run,
        answer,
        size=len(request.arguments),
        call_id=request.id,
        chain=request.chain,
        repeat=request.repeat,
        needs_instance=False,
    )
