"""A disk that is really full: a small file system in memory, mounted for the test."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from durable.errors import StorageError
from durable.runtime.troubles import TroubleKind
from durable.testing import LocalObjects, local_objects
from tests.durable.lab import Lab, do, get, lab, put

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root can mount a small file system"
)

PAGE = bytes(1024 * 1024)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Four megabytes."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", tmp_path], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.fixture
async def local(small_disk: Path) -> AsyncIterator[LocalObjects]:
    """Objects whose files are on the small disk."""
    async with local_objects(small_disk / "objects") as objects:
        yield objects


def fill(disk: Path) -> Path:
    """Leave no room."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def put_two(obj: Lab) -> None:
    put(obj, "small", 2)
    put(obj, "large", PAGE)


async def test_S9_a_full_disk_fails_the_event_and_nothing_is_half_written(
    local: LocalObjects, small_disk: Path
) -> None:
    await do(lab(), put, "small", 1)
    filler = fill(small_disk)
    with pytest.raises(StorageError, match="the disk is full") as caught:
        await do(lab(), put_two)
    assert caught.value.code == "storage_error"
    assert await do(lab(), get, "small") == 1
    assert "the disk is full" in local.troubles.messages[str(lab().id), TroubleKind.DISK]  # type: ignore[attr-defined]
    filler.unlink()
    await do(lab(), put_two)
    assert await do(lab(), lambda obj: (get(obj, "small"), len(get(obj, "large")))) == (2, len(PAGE))
    await local.evict(lab())
    assert local.troubles.messages == {}


async def test_S9_on_a_full_disk_an_object_can_be_read_after_sleep_and_a_new_one_is_refused(
    local: LocalObjects, small_disk: Path
) -> None:
    await do(lab(), put, "small", 1)
    await local.evict(lab())
    fill(small_disk)
    assert await do(lab(), get, "small") == 1
    with pytest.raises(StorageError, match="the disk is full"):
        await do(lab("new"), put, "small", 1)
    assert not local.has_file(lab("new"))
