"""A stage: one object in this process, with clients that speak JSON."""

import json
from typing import Any

import pytest

from durable.testing import LocalObjects, LocalSocket


class Client:
    """One socket: what it was sent, and what it says. Frames are JSON, but text is sent as it is."""

    def __init__(self, socket: LocalSocket) -> None:
        self._socket = socket
        self._texts: list[str] = []
        self._taken = 0

    @property
    def texts(self) -> list[str]:
        """Everything that ever came."""
        self._texts += [str(frame) for frame in self._socket.take()]
        return self._texts

    @property
    def closed(self) -> int | None:
        return self._socket.close_code

    def take(self) -> list[Any]:
        """The frames that came since the last look."""
        fresh = self.texts[self._taken :]
        self._taken += len(fresh)
        return [json.loads(text) for text in fresh]

    async def wait(self) -> None:
        """Return when another frame has come."""
        self._texts.append(str(await self._socket.receive()))

    async def send(self, frame: Any) -> None:
        await self._socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    def post(self, frame: Any) -> None:
        """Send without waiting."""
        self._socket.post(json.dumps(frame))

    async def close(self) -> None:
        await self._socket.close()


class Stage:
    """One object and its clients."""

    def __init__(self, local: LocalObjects, kind: Any, name: str) -> None:
        self._local = local
        self._stub = kind.namespace.get_by_name(name)

    async def connect(self, user: dict[str, Any] | None = None, since: Any = 0) -> Client:
        return Client(await self._local.connect(self._stub, user, f"/ws/x/?since={since}"))

    async def call(self, method: str) -> Any:
        answer = await getattr(self._stub, method)()
        await self._local.settle()
        return answer

    def now(self) -> int:
        return self._local.clock.now()

    def advance(self, milliseconds: int) -> None:
        self._local.clock.advance_ms(milliseconds)

    async def advance_to_alarm(self, within: int) -> None:
        """Let time pass until the alarm is due, at most `within` ms, and let it run, whether the object sleeps or not."""
        due = self._local.alarm(self._stub)
        assert due is not None
        assert self.now() < due <= self.now() + within
        await self._local.run_alarm(self._stub)

    def next_alarm(self) -> int | None:
        return self._local.alarm(self._stub)

    def commits(self) -> int:
        """How many commits the object has made."""
        return self._local.host.activations[str(self._stub.id)].gate.store.transactions.seq

    def is_active(self) -> bool:
        return self._local.is_active(self._stub)

    def has_file(self) -> bool:
        return self._local.has_file(self._stub)

    async def evict(self) -> None:
        await self._local.evict(self._stub)
        assert not self.is_active()

    async def crash(self) -> None:
        await self._local.crash()


@pytest.fixture
def stage(local: LocalObjects) -> Any:
    """Makes a stage for a class and a name."""

    def make(kind: Any, name: str) -> Stage:
        return Stage(local, kind, name)

    return make
