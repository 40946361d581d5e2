"""Syncs without a thread (G4): the kernel makes a log durable and says so; where it refuses, a thread does it."""

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable.errors import LostWriteError
from durable.storage import kernel_sync
from durable.storage.durability import SyncPool
from durable.storage.kernel_sync import MOST, KernelSyncs, kernel_syncs
from durable.testing import LocalObjects
from tests.durable.lab import lab

pytestmark = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="only Linux has it")


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file with something to sync."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(opened, b"x" * 5000)
    yield opened
    os.close(opened)


async def test_G4_the_kernel_tells_on_the_loop_what_is_durable(descriptor: int) -> None:
    syncs = KernelSyncs(asyncio.get_running_loop())
    told: list[tuple[int, Any, int]] = []
    everything = asyncio.Event()

    def done(number: int, error: OSError | None) -> None:
        told.append((number, error, threading.get_ident()))
        if len(told) == 40:
            everything.set()

    for number in range(40):
        assert syncs.fdatasync(descriptor, lambda error, number=number: done(number, error))  # type: ignore[misc]
    assert told == []  # not before the loop goes on
    await asyncio.wait_for(everything.wait(), 10)
    assert sorted(number for number, _, _ in told) == list(range(40))
    assert {(error, thread) for _, error, thread in told} == {(None, threading.get_ident())}
    syncs.close()


async def test_G4_what_the_disk_refuses_is_told_as_an_error_and_the_others_are_told_too(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    syncs = KernelSyncs(loop)
    real = syncs._call

    def failing(number: Any, *arguments: Any) -> int:
        count: int = real(number, *arguments)
        if number is syncs._get_events:
            for event in syncs._events[:count]:
                event.result = -errno.EIO if event.data == 1 else event.result
        return count

    monkeypatch.setattr(syncs, "_call", failing)
    first, unheard, last = loop.create_future(), loop.create_future(), loop.create_future()
    loop.set_exception_handler(lambda _, context: unheard.set_result(context["exception"]))
    syncs.fdatasync(descriptor, first.set_result)
    syncs.fdatasync(descriptor, lambda error: {}["nothing"])
    syncs.fdatasync(descriptor, last.set_result)
    error = await asyncio.wait_for(first, 10)
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert await asyncio.wait_for(last, 10) is None
    assert isinstance(await asyncio.wait_for(unheard, 10), KeyError)
    syncs.close()


class Pool:
    """A pool on the running loop, and whether one of its syncs took a thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.syncs = kernel_syncs(self.loop)
        self.pool = SyncPool(1, self.loop.call_soon_threadsafe, self.syncs)
        self.by_thread: list[int] = []
        real = os.fdatasync

        def fdatasync(descriptor: int) -> None:
            self.by_thread.append(threading.get_ident())
            real(descriptor)

        monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def sync(self, descriptor: int) -> BaseException | None:
        """The error, or None."""
        told: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.pool.fdatasync(descriptor, told.set_result)
        return await asyncio.wait_for(told, 10)

    async def close(self) -> None:
        """Close it as its owner does, and let the loop hear of it."""
        await self.loop.run_in_executor(None, self.pool.close)


async def test_G4_a_sync_takes_no_thread_where_the_kernel_does_it(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    assert await pool.sync(descriptor) is None
    assert pool.by_thread == []
    await pool.close()


async def test_G4_a_thread_syncs_where_the_kernel_knows_no_such_request(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sync, "_FDATASYNC", 77)  # as a kernel before 4.18 sees it
    pool = Pool(monkeypatch)
    for asked in (1, 2):
        assert await pool.sync(descriptor) is None
        assert len(pool.by_thread) == asked
    assert pool.syncs is not None
    assert pool.syncs._is_refused
    await pool.close()


async def test_G4_a_thread_syncs_where_the_machine_is_not_known(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    pool = Pool(monkeypatch)
    assert pool.syncs is None
    assert await pool.sync(descriptor) is None
    assert len(pool.by_thread) == 1
    await pool.close()


async def test_G4_a_descriptor_that_cannot_be_synced_fails_and_others_go_on(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    error = await pool.sync(9999)
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    assert await pool.sync(descriptor) is None
    assert len(pool.by_thread) == 1  # the one that failed
    await pool.close()


async def test_G4_more_than_the_kernel_takes_at_once_take_threads(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    errors = await asyncio.gather(*(pool.sync(descriptor) for _ in range(MOST + 20)))
    assert errors == [None] * (MOST + 20)
    assert len(pool.by_thread) == 20
    await pool.close()


async def test_a_pool_that_is_closed_leaves_no_descriptor(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(os.listdir("/dev/fd"))
    pool = Pool(monkeypatch)
    pool.pool.fdatasync(descriptor, lambda error: None)  # still under way
    await pool.close()
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("by_kernel", [True, False])
async def test_G4_names_that_are_being_synced_take_no_descriptors(
    descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_kernel: bool
) -> None:
    pool = Pool(monkeypatch)
    if not by_kernel:
        monkeypatch.setattr(KernelSyncs, "fsync", lambda *_: False)
    before = len(os.listdir("/dev/fd"))
    told: list[asyncio.Future[BaseException | None]] = [pool.loop.create_future() for _ in range(50)]
    for one in told:
        pool.pool.fsync_named([descriptor], tmp_path, one.set_result)
    assert len(os.listdir("/dev/fd")) <= before + 1  # a thread may be at one
    assert await asyncio.wait_for(asyncio.gather(*told), 10) == [None] * 50
    assert (
        len(os.listdir("/dev/fd")) <= before
    )  # fewer, where the collector has come to what a test before this one left
    await pool.close()


async def test_G4_a_name_that_cannot_be_synced_fails_the_whole(
    descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(monkeypatch)
    told: asyncio.Future[BaseException | None] = pool.loop.create_future()
    pool.pool.fsync_named([descriptor], tmp_path / "gone", told.set_result)
    assert isinstance(await asyncio.wait_for(told, 10), FileNotFoundError)
    assert tmp_path / "gone" not in pool.pool._named
    await pool.close()


async def test_G4_an_objects_commits_are_synced_without_a_thread(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_kernel: list[str] = []
    by_thread: list[int] = []

    def note(name: str) -> None:
        asked = getattr(KernelSyncs, name)

        def ask(self: KernelSyncs, descriptor: int, done: Any) -> bool:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            by_kernel.append(f"{name} {kind}")
            return bool(asked(self, descriptor, done))

        monkeypatch.setattr(KernelSyncs, name, ask)
        monkeypatch.setattr(os, name, by_thread.append)

    note("fsync")
    note("fdatasync")
    await lab().increment()
    assert by_kernel[:2] == ["fsync file", "fsync folder"]
    assert set(by_kernel[2:]) == {"fsync folder"}  # those above, once
    by_kernel.clear()
    await lab().increment()  # the log is new
    assert by_kernel == ["fsync file", "fsync folder"]
    by_kernel.clear()
    await lab().increment()
    await lab().increment()
    assert by_kernel == ["fdatasync file"] * 2
    assert by_thread == []
    with local.commits.failing(), pytest.raises(LostWriteError):
        await lab().increment()
