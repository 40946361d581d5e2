"""This process's way to objects: one router on one loop, used by stubs from every thread and loop of the process.

A gateway attaches the router of its own loop. Where there is none (management commands, threads of other servers), the
first call starts a loop in a background thread, once per process: a link per call would cost more than the call.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from durable.cluster.directory import Directory
from durable.cluster.redis import RedisCluster
from durable.cluster.router import Router
from durable.conf import DurableSettings, durable_settings
from durable.core.envelope import Effects
from durable.errors import UnavailableError
from durable.identity import ObjectId
from durable.runtime.namespace import Dispatcher, dispatch

T = TypeVar("T")


class ClusterClient:
    """Redis, the list of workers, and a router, on the loop that made it.

    Args:
        conf: the settings; `redis_url` must be set.
        kind: "gateway" or "client".
        effects: receives what objects do to sockets held here.
        last_auto_response: says when this process last answered on a socket in its object's place.
    """

    def __init__(
        self,
        conf: DurableSettings,
        kind: str,
        *,
        effects: Callable[[Effects], None] | None = None,
        last_auto_response: Callable[[str, str], int | None] = lambda _object, _socket: None,
        me: str | None = None,
    ) -> None:
        if conf.redis_url is None:
            raise UnavailableError(
                "there is no REDIS_URL: call objects from the service (`manage.py serve`) or from commands of manage.py, which find it; "
                "for another program set it to the `redis_url` of the running service's service.json in DATA_DIR; in a test use the "
                "fixtures of durable.testing"
            )
        self.loop = asyncio.get_running_loop()
        self.redis = RedisCluster(conf.redis_url)
        self.directory = Directory(self.redis)
        self.router = Router(
            me or uuid.uuid4().hex,
            kind,
            self.directory,
            park_seconds=conf.park_seconds,
            max_parked=conf.max_parked,
            effects=effects,
            last_auto_response=last_auto_response,
        )

    async def start(self) -> None:
        """Learn which workers live. Raises RedisUnavailableError."""
        await self.directory.start()

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """Call a method from this client's own loop."""
        return await self.router.call(object_id, method, arguments)

    async def close(self) -> None:
        """Close links and connections."""
        self.router.close()
        await self.directory.stop()
        await self.redis.close()


class _Bridge:
    """Calls from any other loop or thread, carried to the client's own loop."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """Call a method; the waiting happens on the caller's loop."""
        client = await asyncio.to_thread(self._home.client)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(client.call(object_id, method, arguments), client.loop)
        )


class Home:
    """Holds the one client of a process.

    Args:
        settings: read when a client has to be started in the background.
    """

    def __init__(self, settings: Callable[[], DurableSettings]) -> None:
        self._settings = settings
        self._client: ClusterClient | None = None
        self._pid = 0
        self._lock = threading.Lock()
        self._bridge = _Bridge(self)

    def read_settings_with(self, settings: Callable[[], DurableSettings]) -> None:
        """Have `settings` say which service a client that is started in the background belongs to."""
        self._settings = settings

    def attach(self, client: ClusterClient | None) -> None:
        """From now on `client` carries this process's calls; None: nothing does."""
        self._client = client
        self._pid = os.getpid()

    def dispatcher(self) -> Dispatcher:
        """What carries a call made now, here."""
        client = self._client
        if client is not None and self._pid == os.getpid():
            try:
                if asyncio.get_running_loop() is client.loop:
                    return client
            except RuntimeError:
                pass
        return self._bridge

    def client(self) -> ClusterClient:
        """The client, started in a background thread where there is none. Not to be called on a loop."""
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self.attach(_start_in_background(self._settings()))
            assert self._client is not None
            return self._client

    def run(self, work: Callable[[ClusterClient], Coroutine[Any, Any, T]]) -> T:
        """Run something with the client, from synchronous code."""
        client = self.client()
        return asyncio.run_coroutine_threadsafe(work(client), client.loop).result()

    async def arun(self, work: Callable[[ClusterClient], Coroutine[Any, Any, T]]) -> T:
        """`run` for asynchronous code, on any loop."""
        client = self._client
        if client is None or self._pid != os.getpid():
            client = await asyncio.to_thread(self.client)
        if asyncio.get_running_loop() is client.loop:
            return await work(client)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(client), client.loop))


def _start_in_background(conf: DurableSettings) -> ClusterClient:
    started: list[ClusterClient | BaseException] = []
    ready = threading.Event()

    async def serve() -> None:
        try:
            client = ClusterClient(conf, "client")
            await client.start()
        except BaseException as error:  # noqa: BLE001 - raised again where the client was asked for
            started.append(error)
            ready.set()
            return
        started.append(client)
        ready.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), name="durable-client", daemon=True).start()
    ready.wait()
    if isinstance(started[0], BaseException):
        raise started[0]
    return started[0]


home = Home(durable_settings)
dispatch.use(home.dispatcher)
