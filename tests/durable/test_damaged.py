"""An object whose file is damaged while it is open harms itself only: whoever looks at it, or lets go of it, goes on."""

import subprocess
import sys

import pytest

from durable.errors import DamagedFileError
from durable.runtime.capacity import Capacity
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, get, lab, put
from tests.durable.test_troubles import troubles

OVERWRITE = "import sys; file = open(sys.argv[1], 'r+b'); file.seek(4096); file.write(b'\\xff' * 4096)"


async def damage(local: LocalObjects, stub: Lab) -> None:
    """Overwrite a page of the active object's file, which it has forgotten."""
    await do(stub, put, "large", "x" * 20_000)
    await local.evict(stub)
    await do(stub, get, "none")
    database = local.host.activations[str(stub.id)].gate.store.database  # type: ignore[attr-defined]
    # Another process does it: closing the file in this one would undo SQLite's locks.
    subprocess.run([sys.executable, "-c", OVERWRITE, str(database.path)], check=True)
    with database.guard.trusted():
        database.cursor.execute("PRAGMA cache_size=1", can_cache=False).fetchall()
    database.connection.release_memory()


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
