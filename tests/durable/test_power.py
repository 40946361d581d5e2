"""The power fails: what was acknowledged is on disk, and every object can be opened."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable.testing import LocalObjects, local_objects
from tests.durable.disk import Disk, watched
from tests.durable.lab import Lab, RelaxedLab, do, lab, put

MEMORY = Path("/dev/shm")  # its inodes are never used again
STEPS = 150
OBJECTS = 4
BEAT = 0.005

pytestmark = pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a file system in memory")


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


class Counts:
    """What has been asked of each object, and what was acknowledged, by time.

    Attributes:
        seconds: for which the loop has run. While a busy machine keeps this process waiting, its timers wait as well.
    """

    def __init__(self, kind: type[Lab]) -> None:
        self.kind = kind
        self.seconds = 0.0
        self.asked = [0] * OBJECTS
        self._seen: list[tuple[float, int, int]] = []  # when, object, count

    async def run_clock(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self.seconds += BEAT

    def stub(self, number: int) -> Lab:
        return lab(f"{number}", self.kind)

    async def increment(self, number: int) -> None:
        self.asked[number] += 1
        self._see(number, await self.stub(number).increment())

    async def read(self, number: int) -> None:
        self._see(number, await self.stub(number).value())

    def _see(self, number: int, count: int) -> None:
        self._seen.append((self.seconds, number, count))

    def acknowledged(self, age: float = 0.0) -> list[int]:
        """What has been seen of each object at least `age` seconds ago."""
        until = self.seconds - age
        seen = [(number, count) for when, number, count in self._seen if when <= until]
        return [max((count for one, count in seen if one == number), default=0) for number in range(OBJECTS)]


Cut = tuple[Path, list[int]]
"""What a power cut leaves at some moment, and what must be in it."""


async def live(
    disk: Disk,
    images: Path,
    counts: Counts,
    chance: random.Random,
    *,
    age: float = 0.0,
    troubles: float = 1.0,
) -> list[Cut]:
    """Use the objects for a while, and let the power fail at many moments.

    Args:
        age: seconds after which an acknowledged write must be durable. Then there is time between the steps.
        troubles: how many of the steps end in some trouble, which may make things durable too.
    """
    cuts: list[Cut] = []
    clock = asyncio.create_task(counts.run_clock())
    async with local_objects(disk.root / "objects") as local:
        for step in range(STEPS):
            use = [counts.increment] * 5 + [counts.read]
            batch = [
                asyncio.create_task(chance.choice(use)(chance.randrange(OBJECTS)))
                for _ in range(chance.randint(1, 8))
            ]
            when = chance.choice((asyncio.FIRST_COMPLETED, asyncio.ALL_COMPLETED))
            await asyncio.wait(batch, return_when=when)
            if step < 10 or chance.random() < 0.2:  # the first commits make names durable, too
                acknowledged = counts.acknowledged(age)
                disk.cut(images / f"{step}")
                cuts.append((images / f"{step}" / "objects", acknowledged))
            if chance.random() < troubles:
                await trouble(local, counts, chance.randrange(OBJECTS), chance)
            if age:
                await asyncio.sleep(0.01)
            await asyncio.gather(*batch)
    clock.cancel()
    return cuts


async def trouble(local: LocalObjects, counts: Counts, number: int, chance: random.Random) -> None:
    """Sometimes an object sleeps, grows, or loses its owner, which has committed what it did not sync."""
    stub = counts.stub(number)
    match chance.randrange(12):
        case 0:
            await local.evict(stub)
        case 1:
            await local.crash()
        case 2:
            await do(stub, put, "ballast", chance.randbytes(200_000))
        case 3:
            local.commits.hold()
            unsynced = asyncio.create_task(counts.increment(number))
            await local.commits.waiting()
            await local.crash()
            local.commits.release()
            await unsynced


async def lives_on(cuts: list[Cut], counts: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object of every image opens, has what it must have, and counts on."""
    assert len(cuts) > 10
    for image, acknowledged in cuts:
        monkeypatch.setattr("durable.storage.records.boot_id", lambda image=image: str(image))
        async with local_objects(image):
            found = [await counts.stub(number).value() for number in range(OBJECTS)]
            assert all(map(int.__ge__, found, acknowledged)), (image, found, acknowledged)
            assert all(map(int.__le__, found, counts.asked)), (image, found, counts.asked)
            assert await counts.stub(0).increment() == found[0] + 1


@pytest.mark.parametrize("seed", range(4))
async def test_G4_a_power_cut_loses_nothing_that_was_acknowledged(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    caplog.set_level("INFO", "durable.storage.replay")
    disk, counts, chance = prepared(root, monkeypatch, seed, Lab)
    with watched(disk):
        cuts = await live(disk, root / "images", counts, chance)
    await lives_on(cuts, counts, monkeypatch)
    assert "replayed from commit" in caplog.text  # or the journal was not tested
    assert "could not be replayed" not in caplog.text
    assert "are in no journal" not in caplog.text


async def test_S13_a_power_cut_loses_at_most_the_last_second_of_relaxed_writes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.runtime.gate.UNSYNCED_SECONDS", 0.1)
    disk, counts, chance = prepared(root, monkeypatch, 7, RelaxedLab)
    with watched(disk):
        cuts = await live(disk, root / "images", counts, chance, age=0.2, troubles=0.1)
    await lives_on(cuts, counts, monkeypatch)


def prepared(
    root: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kind: type[Lab]
) -> tuple[Disk, Counts, random.Random]:
    """An empty disk, on which logs are copied into their files often."""
    monkeypatch.setattr("durable.storage.store.CHECKPOINT_PAGES", 30)
    monkeypatch.setattr("durable.storage.journal.MOST_BYTES", 20_000)
    for name in ("disk", "images"):
        (root / name).mkdir()
    return Disk(root / "disk", seed), Counts(kind), random.Random(seed)
