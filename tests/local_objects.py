"""Objects in this process: the real runtime and real files, alone in the world, with a clock that the test moves."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from durable import DurableObject
from durable.conf import durable_settings
from durable.core.envelope import Call, CallId, Target
from durable.core.leases import LeaseWindow
from durable.errors import error_from_wire, error_to_wire
from durable.identity import ObjectId
from durable.runtime.context import AlarmInfo
from durable.runtime.events import Event
from durable.runtime.host import Host
from durable.runtime.namespace import dispatch
from durable.runtime.registry import registry
from durable.runtime.surroundings import Clocks
from durable.storage.store import object_path


class MovedClock:
    """Milliseconds since the epoch, as the test says."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now(self) -> int:
        return self.ms

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def advance_ms(self, ms: int) -> None:
        self.ms += ms


class _Alone:
    """The rest of the cluster, of which there is none: every claim succeeds, nobody listens."""

    def __init__(self) -> None:
        self._epochs = itertools.count(1)

    async def claim(self, _object_id: ObjectId, above: int) -> int:
        return max(above + 1, next(self._epochs))

    async def rest(self, _object_id: ObjectId) -> None:
        pass

    async def release(self, _object_id: ObjectId) -> None:
        pass

    def send(self, gateway: str, _message: Any) -> None:
        raise AssertionError(f"there is no gateway {gateway}")

    async def live_gateways(self) -> frozenset[str]:
        return frozenset()

    def put(self, _object_id: ObjectId, _at: int | None) -> "asyncio.Future[None]":
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def note(self, _entry: Any) -> None:
        pass

    async def call(self, object_id: ObjectId, *_: Any, **__: Any) -> bytes:
        raise AssertionError(f"no object calls {object_id!r} here")


class _Waiting:
    """An answer as a future."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def reply(self, value: bytes | None) -> None:
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error_from_wire(error_to_wire(error)))  # as a caller would see it

    def not_owner(self, owner: str | None) -> None:
        self.fail(AssertionError(f"moved to {owner}"))


class LocalObjects:
    """Carries the calls of stubs to objects of this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = MovedClock()
        lease = LeaseWindow(ttl=3600, margin=1)
        lease.renewed(time.monotonic())
        alone = _Alone()
        self._numbers = itertools.count(1)
        self.host = Host(
            durable_settings(),
            root=root,
            worker="local",
            registry=registry,
            lease=lease,
            clocks=Clocks(time.monotonic, self.clock.now, random.random),
            owners=alone,
            outlets=alone,
            alarm_index=alone,
            catalog=alone,
            remote=alone,
        )

    async def call(self, object_id: ObjectId, method: str, arguments: bytes) -> bytes:
        """Run a call as the object's event."""
        number = next(self._numbers)
        target = Target(object_id.class_key, str(object_id), object_id.name)
        answer = _Waiting()
        request = Call(number, target, method, arguments, CallId("test", number, 1), [])
        self.host.dispatch(request, "test", answer)
        result: bytes = await answer.future
        return result

    async def run_alarm(self, stub: DurableObject) -> int | None:
        """Run the object's alarm now, due or not; returns when the next one is due."""
        activation = self.host.activations.get(str(_id(stub)))
        if activation is None:
            raise AssertionError("the object is asleep")

        async def run(activation: Any) -> bytes | None:
            activation.touch_alarm()
            activation.open_store().metadata.set_alarm(None)
            await activation.instance.alarm(AlarmInfo(self.clock.now(), 0))
            return None

        answer = _Waiting()
        activation.offer(Event("alarm", run, answer))
        await answer.future
        alarm = activation.open_store().metadata.get_alarm()
        return None if alarm is None else alarm.at

    async def evict(self, stub: DurableObject) -> None:
        """Put the object to sleep."""
        leaving = self.host.evict(str(_id(stub)))
        if leaving is not None:
            await leaving

    def exists(self, stub: DurableObject) -> bool:
        """Whether the object has a file."""
        return object_path(self.root, _id(stub)).exists()

    def count(self, stub: DurableObject, table: str) -> int:
        """The number of rows in one of the object's tables."""
        store = self.host.activations[str(_id(stub))].open_store()
        (rows,) = store.sql.exec(f"SELECT count(*) FROM {table}").one()
        return int(rows)


def _id(stub: Any) -> ObjectId:
    found: ObjectId = stub.id
    return found


@asynccontextmanager
async def local_objects(root: Path) -> AsyncIterator[LocalObjects]:
    """Objects whose files are under `root`, on the running loop, until the block ends."""
    objects = LocalObjects(root)
    before = dispatch._find  # what the apps installed; put back, since it belongs to the process
    dispatch.use(lambda: objects)
    try:
        yield objects
    finally:
        dispatch.use(before)
        await objects.host.close_all()
