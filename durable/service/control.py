"""How a command asks the running service for a roll-out: one line of JSON over a Unix socket, and a line back for each step.

The socket is in the runtime directory, which only this user may enter. Whoever asked may go away; the roll-out goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from .errors import ServiceError

logger = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"
#: Seconds that either end may take to say something, or to listen.
SAY_WITHIN = 5.0
_VERSION = 1


class Order(msgspec.Struct, frozen=True):
    """What is asked for."""

    version: int
    gateways: bool = False
    """Replace the gateways too."""


class Step(msgspec.Struct, frozen=True):
    """What has happened: another step, or the end."""

    state: Literal["running", "done", "failed"]
    message: str
    detail: str = ""
    """Of a failure: the last lines of the process that failed."""


Redeploy = Callable[[bool, Callable[[str], None]], Awaitable[None]]
"""Carries out a roll-out, with gateways or without, and tells each step; raises `ServiceError`."""


class ControlServer:
    """The service's end.

    Args:
        runtime_dir: where the socket is.
        redeploy: what an order has done.
    """

    def __init__(self, runtime_dir: Path, redeploy: Redeploy) -> None:
        self._path = runtime_dir / SOCKET_NAME
        self._redeploy = redeploy
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Listen no more, and hang up."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer), name="control")
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(step: Step) -> None:
            if not writer.is_closing():
                writer.write(msgspec.json.encode(step) + b"\n")

        try:
            say(await self._obey(reader, say))
            async with asyncio.timeout(SAY_WITHIN):
                await writer.drain()
        except (OSError, TimeoutError):
            logger.info("who asked for a roll-out is gone")
        finally:
            writer.close()

    async def _obey(self, reader: asyncio.StreamReader, say: Callable[[Step], None]) -> Step:
        """Do what is asked for; the last step."""
        try:
            async with asyncio.timeout(SAY_WITHIN):
                order = msgspec.json.decode(await reader.readline(), type=Order)
        except (ValueError, msgspec.MsgspecError) as error:
            return Step("failed", f"the order cannot be read: {error}")
        if order.version != _VERSION:
            return Step("failed", f"the service is of other code than this command (order {order.version})")
        try:
            await self._redeploy(order.gateways, lambda message: say(Step("running", message)))
        except ServiceError as error:
            return Step("failed", error.message, error.detail)
        return Step("done", "everything asked for runs the new code")


def ask_for_rollout(runtime_dir: Path, *, gateways: bool) -> Iterator[Step]:
    """Have the service of that runtime directory roll the code on disk out; its steps as they come, the last one not "running".

    Raises `ServiceError` when there is nobody to ask, or the service ends meanwhile.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SAY_WITHIN)
        try:
            connection.connect(os.fspath(runtime_dir / SOCKET_NAME))
            connection.sendall(msgspec.json.encode(Order(_VERSION, gateways)) + b"\n")
        except OSError as error:
            raise ServiceError(
                f"The service cannot be asked ({error.strerror or error}): is it `manage.py serve`? Others reload by themselves."
            ) from None
        connection.settimeout(None)  # the service bounds each step, and its end is seen
        step = None
        with contextlib.suppress(ConnectionError), connection.makefile("rb") as lines:
            for line in lines:
                step = msgspec.json.decode(line, type=Step)
                yield step
    if step is None or step.state == "running":
        raise ServiceError("The service ended during the roll-out.")
