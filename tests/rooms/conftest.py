"""A stage: one object on a real host with a real file, its clients as a gateway would hold them, and a clock that tests move."""

import asyncio
import itertools
import json
import time
from typing import Any, ClassVar

import pytest

from durable.conf import DurableSettings
from durable.core import codec
from durable.core.envelope import Attach, Call, CallId, Effects, SocketClose, SocketFrame, SocketOpen, Target
from durable.core.leases import LeaseWindow
from durable.identity import id_from_name
from durable.runtime.host import Clocks, Host
from durable.runtime.registry import registry
from durable.runtime.sockets import encode_hello

GATEWAY = "gateway"
SECONDS = 5.0


class Answer:
    """Resolves when the event has had its outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(self, value: Any) -> None:
        self.outcome.set_result(value)

    def fail(self, error: BaseException) -> None:
        self.outcome.set_exception(error)

    def not_owner(self, owner: str | None) -> None:
        self.outcome.set_exception(AssertionError(f"the object is said to belong to {owner}"))


class Client:
    """One socket: what it was sent, and what it says."""

    def __init__(self, stage: "Stage", socket_id: str) -> None:
        self.id = socket_id
        self.texts: list[str] = []
        self.closed: int | None = None
        self._stage = stage
        self._taken = 0
        self._sent = 0

    def take(self) -> list[Any]:
        """The frames that came since the last look."""
        fresh = self.texts[self._taken :]
        self._taken = len(self.texts)
        return [json.loads(text) for text in fresh]

    async def send(self, frame: Any) -> None:
        self._sent += 1
        text = frame if isinstance(frame, str) else json.dumps(frame)
        await self._stage.request(SocketFrame, self.id, self._sent, text)

    async def close(self) -> None:
        await self._stage.request(SocketClose, self.id, 1000, "", True)
        self._stage.clients.pop(self.id, None)


class Stage:
    """One object and everything around it; it plays the host's cluster, gateways, alarm index and catalog itself."""

    numbers: ClassVar = itertools.count(1)

    def __init__(self, kind: Any, name: str, root: Any) -> None:
        self.clients: dict[str, Client] = {}
        self._id = id_from_name(kind.key, name)
        self._target = Target(kind.key, str(self._id), name)
        self._root = root
        self._now = 1_700_000_000_000
        self._alarm: int | None = None
        self._auto: tuple[str, str] | None = None
        self._epoch = 0
        self._host: Host | None = None

    # -- what tests do

    async def connect(self, user: dict[str, Any] | None = None, since: Any = 0) -> Client:
        client = Client(self, f"socket{next(self.numbers)}")
        self.clients[client.id] = client
        await self.request(SocketOpen, client.id, encode_hello(f"/ws/x/?since={since}", {}, user or {}))
        return client

    async def call(self, method: str, *args: Any) -> Any:
        identity = CallId("test", next(self.numbers), 1)
        return codec.decode(await self.request(Call, method, codec.encode([list(args), {}]), identity, []))

    def now(self) -> int:
        return self._now

    def advance(self, milliseconds: int) -> None:
        self._now += milliseconds

    async def advance_to_alarm(self, within: int) -> None:
        """Let time pass until the alarm is due, at most `within` ms, and let it run, whether the object sleeps or not."""
        due = self._alarm
        assert due is not None
        assert self._now < due <= self._now + within
        self._now = due
        self.host.wake_for_alarm(self._id)
        deadline = time.monotonic() + SECONDS
        while self._alarm == due:
            assert time.monotonic() < deadline, "the alarm did not run"
            await asyncio.sleep(0.01)
        await self.request(Attach, list(self.clients))

    async def next_alarm(self) -> int | None:
        return self._alarm

    def auto_response(self) -> tuple[str, str] | None:
        return self._auto

    async def commits(self) -> int:
        """How many commits the object has made."""
        store = self.host.activations[str(self._id)].store
        assert store is not None
        return store.transactions.seq

    async def evict(self) -> None:
        leaving = self.host.evict(str(self._id))
        if leaving is not None:
            await leaving

    async def take_over(self) -> None:
        """The owner is gone; the gateway brings its sockets to the next one."""
        await self.end()
        await self.request(Attach, list(self.clients))

    async def end(self) -> None:
        if self._host is not None:
            await self._host.close_all()
            self._host = None

    # -- the host and what it needs

    async def request(self, kind: Any, *fields: Any) -> Any:
        answer = Answer()
        self.host.dispatch(kind(next(self.numbers), self._target, *fields), GATEWAY, answer)
        return await asyncio.wait_for(answer.outcome, SECONDS)

    @property
    def host(self) -> Host:
        if self._host is None:
            lease = LeaseWindow(ttl=3600, margin=1)
            lease.renewed(time.monotonic())
            self._epoch += 1
            self._host = Host(
                DurableSettings(data_dir=self._root),
                root=self._root,
                worker=f"worker{self._epoch}",
                registry=registry,
                lease=lease,
                clocks=Clocks(time.monotonic, self.now, lambda: 0.5),
                owners=self,
                outlets=self,
                alarm_index=self,
                catalog=self,
                remote=self,
            )
        return self._host

    async def claim(self, object_id: Any, above: int) -> int:
        assert above < self._epoch
        return self._epoch

    async def rest(self, object_id: Any) -> None:
        pass

    async def live_gateways(self) -> frozenset[str]:
        return frozenset({GATEWAY})

    def note(self, entry: Any) -> None:
        pass

    def put(self, object_id: Any, at: int | None) -> asyncio.Future[None]:
        self._alarm = at
        remembered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        remembered.set_result(None)
        return remembered

    def send(self, gateway: str, effects: Effects) -> None:
        for kind, *fields in effects.operations:
            if kind == "send":
                for socket_id in fields[0]:
                    self.clients[socket_id].texts.append(fields[1])
            elif kind == "close":
                self.clients[fields[0]].closed = fields[1]
            elif kind == "auto":
                self._auto = (fields[0], fields[1])


@pytest.fixture
async def stage(tmp_path):
    made: list[Stage] = []

    def make(kind: Any, name: str) -> Stage:
        made.append(Stage(kind, name, tmp_path))
        return made[-1]

    yield make
    for one in made:
        await one.end()
