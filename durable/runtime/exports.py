"""What an operator does to an object as a whole, as events of its own: copy it to a file, replace it by one, delete it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from durable.core import codec
from durable.core.envelope import Call
from durable.errors import UnavailableError
from durable.storage.images import raise_epoch, write_image

from .events import Answer, Event

if TYPE_CHECKING:
    from .activation import Activation

DELETE = "_do_delete"
"""The method of a call that deletes its object: no name that a stub or an operator could call."""

REPLACE = "_do_replace"
"""The method of a call that replaces its object by a file; its argument is the name of that in the folder of exports."""

REPLACED_CODE = 1012
"""What the sockets of a replaced object are closed with: clients come back by themselves."""

PAUSE = 0.002  # seconds between two steps of a copy, which are the loop's for everything else
MOST_SECONDS = 300.0  # that a copy may take
LEFT_SECONDS = 3600.0  # after which what nobody has fetched is removed


class Export:
    """Copies an object to a file in small steps between its events, which go on meanwhile.

    It is itself what each step answers. The copy is whole when all that is in it is durable.

    Args:
        folder: where the file is made; whoever asked moves it away.
        answer: gets the file's name, or None if the object stores nothing.
        backup: the copy is a backup, so that the next write is a change which no backup has.
    """

    def __init__(self, activation: Activation, folder: Path, answer: Answer, *, backup: bool = False) -> None:
        self._activation = activation
        self._answer = answer
        self._backup = backup
        self._path = folder / f"{uuid.uuid4().hex}.sqlite3"
        self._steps: Iterator[bool] | None = None
        self._copied = False
        self._seq = 0
        self._give_up = activation.host.clock() + MOST_SECONDS

    def step(self) -> None:
        """Copy some more as soon as no event runs."""
        if self._activation.gate.is_open:
            self._activation.offer_first(Event("export", self._copy, self, needs_instance=False))
        else:
            self.not_owner(None)

    async def _copy(self, activation: Activation) -> bytes | None:
        store = activation.gate.store
        if not store.has_file:
            return None
        if self._steps is None or activation is not self._activation:  # it slept meanwhile: once more
            self._activation = activation
            _make_ready(self._path.parent)
            self._steps = write_image(store.database.connection, self._path)
        if activation.host.clock() > self._give_up:
            raise UnavailableError(f"the copy was not made within {MOST_SECONDS:g} s", delivered="no")
        self._copied = next(self._steps)
        self._seq = store.transactions.seq
        if self._copied and self._backup:
            activation.backed_up()
        return None

    def reply(self, value: bytes | None) -> None:
        """A step is over."""
        loop = self._activation.host.loop
        if self._steps is None:
            self._answer.reply(codec.encode(None))
        elif not self._copied:
            loop.call_later(PAUSE, self.step)
        elif not self._activation.gate.is_open:
            self.not_owner(None)
        elif (
            self._activation.gate.store.log.durable < self._seq
        ):  # a relaxed class's step does not wait for it
            self._activation.gate.store.log.sync_soon()
            loop.call_later(PAUSE, self.reply, None)
        else:
            self._activation.host.off_loop(self._finish).add_done_callback(self._finished)

    def _finish(self) -> None:
        assert self._steps is not None
        for _ in self._steps:
            pass

    def _finished(self, task: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._answer.reply(codec.encode(self._path.name))
        else:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """A step has failed."""
        self._remove()
        self._answer.fail(error)

    def not_owner(self, owner: str | None) -> None:
        """The object is active here no more."""
        self._remove()
        self._answer.not_owner(owner)

    def _remove(self) -> None:
        self._steps = None
        self._path.unlink(missing_ok=True)


def _make_ready(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace_event(request: Call, answer: Answer) -> Event:
    """Put a prepared file of the folder of exports in the place of the object's own when the instance has ended, which is at once.

    Its sockets are closed; events that wait go to the next instance, which finds the other file. Answers False for an object
    that stores nothing, and when there is no such file: then nothing is done. Whoever asks sees by the file whether it worked.
    """

    async def run(activation: Activation) -> bytes | None:
        store = activation.gate.store
        (name,), _ = codec.decode(request.arguments)
        draft = activation.host.exports / Path(name).name
        if not store.has_file or not draft.exists():
            return codec.encode(False)
        await activation.host.off_loop(lambda: raise_epoch(draft, store.claim.epoch))
        for ws in activation.sockets:
            activation.effect(ws.gateway, ("close", ws.id, REPLACED_CODE, "replaced"))
        store.successor = draft
        activation.host.evict(str(activation.object_id))
        return codec.encode(True)

    return Event(
        "replace",
        run,
        answer,
        size=len(request.arguments),
        chain=request.chain,
        repeat=request.repeat,
        needs_instance=False,
    )


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
            activation.gate.store.metadata.forget_calls(activation.now() + 1, 0)  # they would keep the file
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
