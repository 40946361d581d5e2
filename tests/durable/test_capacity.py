"""How much a worker holds: bounds by count, descriptors and memory, what makes room, and what is refused."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.errors import OverloadedError
from durable.runtime import memory
from durable.runtime.capacity import DESCRIPTORS_PER_OBJECT, OTHER_DESCRIPTORS, Capacity, descriptor_limit
from durable.service.limits import raise_descriptor_limit
from durable.testing import LocalObjects
from tests.durable.lab import do, lab, put
from tests.durable.test_overload import block

MIB = 1024 * 1024


class Scales:
    """A worker's memory, as the test says."""

    def __init__(self) -> None:
        self.bytes = 0
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        return self.bytes


@pytest.fixture
def scales(local: LocalObjects) -> Scales:
    """What the worker's memory is weighed with: its bound is 100 MiB."""
    found = Scales()
    local.host.capacity = Capacity(1000, 100 * MIB, descriptors=100_000, resident=found)
    return found


async def fill(count: int) -> None:
    for number in range(count):
        await do(lab(f"{number}"), put, "n", number)


async def test_L2_near_its_memory_a_worker_evicts_what_was_used_least_recently(
    local: LocalObjects, scales: Scales
) -> None:
    await fill(10)
    local.clock.advance(1)
    await lab("0").value()
    scales.bytes = 90 * MIB
    await local.advance(0)
    assert not local.is_active(lab("1"))
    assert local.is_active(lab("0"))
    assert len(local.host.activations) == 9
    for _ in range(20):
        await local.advance(0)
    assert len(local.host.activations) == 0


async def test_L2_far_from_its_memory_a_worker_evicts_nothing(local: LocalObjects, scales: Scales) -> None:
    await fill(10)
    scales.bytes = 80 * MIB
    await local.advance(0)
    assert len(local.host.activations) == 10


async def test_L2_beyond_its_memory_a_busy_worker_refuses_new_objects_by_name_of_the_bound(
    local: LocalObjects, scales: Scales
) -> None:
    busy, go = await block(lab("busy"))
    scales.bytes = 120 * MIB
    await local.advance(0)
    with pytest.raises(OverloadedError, match=r"120 MiB of the 100 MiB .*worker_memory") as caught:
        await lab("new").value()
    assert (caught.value.retryable, caught.value.delivered) == (True, "no")
    scales.bytes = 10 * MIB
    await local.advance(0)
    assert await lab("new").value() == 0  # it recovers by itself
    go.set()
    await busy


async def test_L2_beyond_its_memory_an_idle_object_makes_room_for_a_new_one(
    local: LocalObjects, scales: Scales
) -> None:
    _busy, go = await block(lab("busy"))
    await lab("idle").value()
    scales.bytes = 120 * MIB
    local.host.capacity.look()
    assert await lab("new").value() == 0
    async with asyncio.timeout(10):
        while local.is_active(lab("idle")):  # it is closed in a thread
            await asyncio.sleep(0.001)
    go.set()
    await _busy


async def test_L2_a_worker_without_objects_takes_one_whatever_its_memory_is(
    local: LocalObjects, scales: Scales
) -> None:
    scales.bytes = 500 * MIB
    local.host.capacity.look()
    assert await lab().increment() == 1


async def test_L2_the_memory_is_not_weighed_at_each_activation(local: LocalObjects, scales: Scales) -> None:
    before = scales.looks
    await asyncio.gather(*(lab(f"{number}").value() for number in range(200)))
    assert 1 <= scales.looks - before <= 4


async def test_L2_an_object_that_is_leaving_makes_room_for_one_only(local: LocalObjects) -> None:
    local.host.capacity = Capacity(3, 100 * MIB, resident=lambda: 0)
    blocked = [await block(lab(f"busy{number}")) for number in range(2)]
    await lab("idle").value()
    over = asyncio.Event()
    new = [asyncio.create_task(do(lab(f"new{n}"), lambda obj: over.wait())) for n in range(3)]
    await local.settle()
    assert [task.done() for task in new] == [False, True, True]
    for task in new[1:]:
        with pytest.raises(OverloadedError, match="max_active"):
            await task
    over.set()
    await new[0]
    for task, go in blocked:
        go.set()
        await task


async def test_L2_no_file_is_opened_before_one_is_closed(local: LocalObjects) -> None:
    local.host.capacity = Capacity(2, 100 * MIB, resident=lambda: 0)
    await fill(2)
    local.commits.hold()
    unsynced = [asyncio.create_task(do(lab(f"{number}"), put, "n", "more")) for number in range(2)]
    await local.commits.waiting()
    evicting = [asyncio.ensure_future(local.host.evict(str(lab(f"{n}").id))) for n in range(2)]  # type: ignore[attr-defined, arg-type]
    new = asyncio.create_task(lab("new").value())
    await local.settle()
    assert local.host.capacity.files.locked()
    assert not new.done()
    local.commits.release()
    assert await new == 0
    await asyncio.gather(*unsynced, *evicting)


async def test_L2_a_place_comes_back_when_an_object_cannot_be_opened(local: LocalObjects) -> None:
    local.host.capacity = Capacity(2, 100 * MIB, resident=lambda: 0)
    await lab().increment()
    await local.evict(lab())
    file = next(Path(local.conf.data_dir).rglob("*.sqlite3"))
    whole = file.read_bytes()
    file.write_bytes(b"damaged" * 1000)
    for _ in range(5):
        with pytest.raises(Exception, match="damaged"):
            await lab().value()
    file.write_bytes(whole)
    assert await lab().value() == 1
    assert await lab("other").value() == 0


@pytest.mark.parametrize(("descriptors", "holds"), [(128 + 40, 10), (128 + 4000, 20), (10, 1)])
async def test_L2_descriptors_bound_the_number_of_objects(
    local: LocalObjects, descriptors: int, holds: int
) -> None:
    capacity = Capacity(20, 100 * MIB, descriptors=descriptors, resident=lambda: 0)
    local.host.capacity = capacity
    blocked = [await block(lab(f"{number}")) for number in range(holds)]
    with pytest.raises(OverloadedError, match="max_active" if holds == 20 else f"{descriptors} descriptors"):
        await lab("one more").value()
    for task, go in blocked:
        go.set()
        await task


async def test_L2_an_object_takes_no_more_descriptors_than_counted(local: LocalObjects) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    await fill(1)
    before = descriptors()
    await asyncio.gather(*(lab(f"many{number}").increment() for number in range(50)))
    await local.settle()
    assert descriptors() - before <= 50 * DESCRIPTORS_PER_OBJECT


@pytest.mark.skipif(sys.platform != "linux", reason="memory is known on Linux only")
def test_L2_a_process_knows_its_memory() -> None:
    before = memory.resident()
    block = bytearray(64 * MIB)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.resident() - before > 48 * MIB
    assert memory.allocated() >= 64 * MIB
    assert memory.resident() < memory.machine_bytes()


def test_L2_the_memory_of_a_machine_is_what_its_control_groups_allow(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "memory.max").write_text("max\n")
    (tmp_path / "outer" / "memory.max").write_text("1000000\n")
    limits = list(memory.group_limits("4:cpu:/x\n0::/outer/inner\nnonsense\n", tmp_path))
    assert limits == [1_000_000]
    (tmp_path / "memory" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "job" / "memory.limit_in_bytes").write_text("2000000\n")
    assert list(memory.group_limits("4:cpu,memory:/job\n", tmp_path)) == [2_000_000]
    assert list(memory.group_limits("0::/elsewhere\n", tmp_path)) == []


@pytest.fixture
def _descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_descriptors")
def test_L2_a_process_raises_its_limit_of_descriptors_as_far_as_it_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    raise_descriptor_limit()
    assert descriptor_limit() == hard or hard == resource.RLIM_INFINITY


@pytest.mark.cluster
def test_L2_a_process_with_few_descriptors_serves_more_objects_than_it_can_hold(tmp_path: Path) -> None:
    few = OTHER_DESCRIPTORS + 8 * DESCRIPTORS_PER_OBJECT
    limited = ["sh", "-c", f'ulimit -n {few}; exec "$@"', "sh", sys.executable, "-c", MANY_OBJECTS]
    done = subprocess.run([*limited, str(tmp_path)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "served 300 objects\n"), done.stderr


MANY_OBJECTS = """
import asyncio, os, pathlib, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django
django.setup()
from durable.testing import local_objects
from tests.durable.lab import lab

async def main():
    async with local_objects(pathlib.Path(sys.argv[1])) as local:
        turns = asyncio.Semaphore(6)  # callers at once, so that some objects are always idle
        async def count(number):
            async with turns:
                return await lab(f"{number}").increment()
        for round in (1, 2):
            assert await asyncio.gather(*map(count, range(300))) == [round] * 300
        assert len(local.host.activations) <= 8
    print("served 300 objects")

asyncio.run(main())
"""
