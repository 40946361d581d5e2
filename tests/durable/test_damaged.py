"""An object whose file is damaged while it is open harms itself only: whoever looks at it, or lets go of it, goes on."""

import asyncio
import subprocess
import sys

import pytest

from durable.errors import DamagedFileError
from durable.runtime.capacity import Capacity
from durable.testing import LocalObjects
from durable.testing.fleet import DEADLINE
from tests.durable.lab import HOOKS, Lab, do, get, lab, put
from tests.durable.test_troubles import troubles

OVERWRITE = (
    "import sys; file = open(sys.argv[1], 'r+b'); file.seek(4096); file.write(b'\\xff' * int(sys.argv[2]))"
)


async def put_large(local: LocalObjects, stub: Lab) -> None:
    """Fill pages of the object's file, which then sleeps."""
    await do(stub, put, "large", "x" * 20_000)
    await local.evict(stub)


def overwrite(local: LocalObjects, stub: Lab, *, everything: bool) -> None:
    """Overwrite a page of the active object's file, or all but the first, and have the object forget what it had read."""
    database = local.host.activations[str(stub.id)].gate.store.database  # type: ignore[attr-defined]
    length = database.path.stat().st_size - 4096 if everything else 4096
    # Another process does it: closing the file in this one would undo SQLite's locks.
    subprocess.run([sys.executable, "-c", OVERWRITE, str(database.path), str(length)], check=True)
    with database.guard.trusted():
        database.cursor.execute("PRAGMA cache_size=1", can_cache=False).fetchall()
    database.connection.release_memory()


async def damage(local: LocalObjects, stub: Lab, *, everything: bool = False) -> None:
    """Damage the file of an object, which is active then."""
    await put_large(local, stub)
    await do(stub, get, "none")
    overwrite(local, stub, everything=everything)


async def test_L2_a_place_comes_back_when_an_object_whose_file_is_damaged_is_closed(
    local: LocalObjects,
) -> None:
    local.host.capacity = Capacity(2, 1 << 40)
    for name in ("one", "two", "three"):
        await damage(local, lab(name))
        await local.evict(lab(name))
        assert "malformed" in troubles(local, lab(name))["damaged"]
    assert await lab("whole").increment() == 1
    with pytest.raises(DamagedFileError):  # at once: nobody holds the file any more
        await do(lab("one"), get, "large")


async def test_N1_looking_at_an_object_whose_file_is_damaged_says_so(local: LocalObjects) -> None:
    await damage(local, lab())
    with pytest.raises(DamagedFileError):
        await local.show(lab())


async def test_S9_who_calls_an_object_whose_answers_cannot_be_read_is_told(local: LocalObjects) -> None:
    await damage(local, lab(), everything=True)
    async with asyncio.timeout(DEADLINE):
        told = await asyncio.gather(*(do(lab(), get, "none") for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [DamagedFileError] * 3


async def test_G3_all_who_wait_are_told_when_start_finds_a_file_whose_answers_cannot_be_read(
    local: LocalObjects,
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def start(obj: Lab) -> None:
        reached.set()
        await go_on.wait()
        get(obj, "large")

    await put_large(local, lab())
    HOOKS["start"] = start
    calls = [asyncio.ensure_future(do(lab(), get, "none")) for _ in range(3)]
    async with asyncio.timeout(DEADLINE):
        await reached.wait()
        overwrite(local, lab(), everything=True)
        go_on.set()
        told = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in told] == [DamagedFileError] * 3
