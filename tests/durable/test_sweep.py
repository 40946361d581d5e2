"""The sweep reads the alarms in files without touching the files, or their owners' locks."""

import subprocess
import sys
from pathlib import Path

from durable.storage.sweep import LOOK, find_alarms
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, get, lab, put


def set_alarm(obj: Lab, at: int) -> None:
    obj.ctx.storage.set_alarm(at)


def swept(root: Path) -> dict[str, int]:
    command = [sys.executable, "-m", "durable.storage.sweep", str(root)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {reference: int(at) for reference, at in map(str.split, lines)}


async def test_A8_the_sweep_finds_what_sleeps_and_names_what_it_cannot_read(local: LocalObjects) -> None:
    due = local.clock.now() + 3_600_000
    for name in ("asleep", "active", "dead"):
        await do(lab(name), set_alarm, due)
    for name in ("active", "dead"):
        await lab(name).increment()  # in a log, where only its owner can look
    await lab("none").increment()
    await local.evict(lab("none"))
    await local.evict(lab("asleep"))
    root = local.conf.data_dir
    before = sorted(root.rglob("*"))
    assert swept(root) == {
        f"Lab:{lab('asleep').id}": due,
        f"Lab:{lab('active').id}": LOOK,
        f"Lab:{lab('dead').id}": LOOK,
    }
    assert sorted(root.rglob("*")) == before
    await do(lab("active"), lambda obj: put(obj, "still", "mine"))
    assert await do(lab("active"), get, "still") == "mine"


async def test_A8_a_damaged_file_stops_no_sweep(local: LocalObjects) -> None:
    due = local.clock.now() + 3_600_000
    for name in ("whole", "damaged"):
        await do(lab(name), set_alarm, due)
        await local.evict(lab(name))
    root = local.conf.data_dir
    (damaged,) = root.rglob(f"{lab('damaged').id}.sqlite3")
    damaged.write_bytes(b"nonsense" * 1000)
    assert dict(find_alarms(root)) == {f"Lab:{lab('whole').id}": due}


async def test_A8_an_index_that_is_early_for_an_active_object_is_corrected(local: LocalObjects) -> None:
    due = local.clock.now() + 3_600_000
    await do(lab(), set_alarm, due)
    local.cluster.alarms[f"Lab:{lab().id}"] = local.clock.now()  # what a sweep says of an object with a log
    await local.worker.wake_due()
    await local.settle()
    assert local.alarm(lab()) == due
