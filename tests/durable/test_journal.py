"""The journal: one sync for many objects, and what is replayed of it after a power cut."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from durable.storage import journal
from durable.storage.journal import FOLDER, Part, framed, read_head, read_parts
from durable.storage.pages import FRAME_BYTES, PAGE_BYTES, pages_of, whole
from durable.testing import LocalObjects, local_objects
from tests.durable.lab import do, lab, put

NAMES = [f"{n}" for n in range(12)]


def files(local: LocalObjects) -> list[Path]:
    """The journal's files."""
    return sorted((local.conf.data_dir / FOLDER).glob("*.journal"))


async def increment_all(local: LocalObjects) -> int:
    """One increment of each object, all at once; how many syncs it took."""
    before = local.commits.syncs
    await asyncio.gather(*(lab(name).increment() for name in NAMES))
    return local.commits.syncs - before


async def ready(local: LocalObjects) -> None:
    """Every object has a file with two commits, each synced by itself."""
    for _ in range(2):
        for name in NAMES:
            await lab(name).increment()


async def test_G4_objects_that_wait_together_share_a_sync(local: LocalObjects) -> None:
    await ready(local)
    assert await increment_all(local) < len(NAMES) / 2
    assert len(files(local)) == 1
    parts = list(read_parts(content := files(local)[0].read_bytes(), read_head(content)[1]))  # type: ignore[index]
    assert {(part.first, part.last) for part in parts} == {(2, 3)}
    assert 1 < len(parts) < len(NAMES)  # the first waited alone


async def test_G4_an_object_that_waits_alone_syncs_its_own_log(local: LocalObjects) -> None:
    for _ in range(10):
        await lab().increment()
    assert files(local) == []


async def test_G4_what_is_only_in_the_journal_is_replayed_after_a_power_cut(
    local: LocalObjects, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(local)
    await asyncio.gather(*(local.evict(lab(name)) for name in NAMES))
    await asyncio.gather(*(lab(name).value() for name in NAMES))
    before = tmp_path_factory.mktemp("cut") / "objects"
    shutil.copytree(local.conf.data_dir, before)  # with nothing in the logs
    for _ in range(3):
        await increment_all(local)
    await asyncio.gather(*(do(lab(name), put, "text", "x" * 5000) for name in NAMES))
    shutil.copytree(local.conf.data_dir / FOLDER, before / FOLDER)
    monkeypatch.setattr(journal, "boot_id", lambda: "another")
    async with local_objects(before) as after:
        values = [await lab(name).value() for name in NAMES]
        assert sorted(set(values)) in ([5], [2, 5])
        assert values.count(2) <= 2  # those that waited alone, whose logs we have thrown away
        assert [await lab(name).increment() for name in NAMES] == [value + 1 for value in values]
        assert files(after) == [] or all(
            "another" in path.read_bytes().decode("latin-1") for path in files(after)
        )


async def test_G4_a_journal_of_this_run_of_the_machine_is_not_replayed_but_its_objects_are_synced(
    local: LocalObjects,
) -> None:
    await ready(local)
    await increment_all(local)
    (left,) = files(local)
    await local.crash()
    for _ in range(500):
        if not left.exists():
            break
        await asyncio.sleep(0.01)
    assert not left.exists()
    assert {await lab(name).value() for name in NAMES} == {3}


async def test_G4_a_full_file_is_deleted_when_its_objects_are_synced(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 3000)
    await ready(local)
    for round_ in range(20):
        await increment_all(local)
        if round_ % 7 == 3:
            await local.evict(lab(NAMES[round_ % len(NAMES)]))
    for _ in range(500):
        if len(files(local)) <= 1:
            break
        await asyncio.sleep(0.01)
    assert len(files(local)) <= 1
    assert {await lab(name).value() for name in NAMES} == {22}


async def test_G4_a_journal_that_cannot_be_written_costs_nobody_anything(local: LocalObjects) -> None:
    await ready(local)
    (local.conf.data_dir / FOLDER).write_text("a file where the folder should be")
    await increment_all(local)
    await increment_all(local)
    assert {await lab(name).value() for name in NAMES} == {4}


async def test_G4_objects_leave_no_journal_behind_when_all_are_closed(tmp_path: Path) -> None:
    async with local_objects(tmp_path / "objects") as local:
        await ready(local)
        await increment_all(local)
        await asyncio.gather(*(local.evict(lab(name)) for name in NAMES))
    assert files(local) == []


# --- The format


def part(n: int) -> Part:
    """Some record."""
    return Part("Lab/00/x.sqlite3", 5, n, n + 1, 2, [(1, b"abc", b"xyz")])


def test_G4_records_come_back_up_to_the_first_that_is_not_whole() -> None:
    whole_ones = framed(part(1)) + framed(part(2))
    torn = framed(part(3))
    for size in range(len(torn)):
        assert list(read_parts(whole_ones + torn[:size], 0)) == [part(1), part(2)]
    for at in range(len(torn)):
        bent = bytearray(torn)
        bent[at] ^= 1
        assert list(read_parts(whole_ones + bytes(bent) + framed(part(4)), 0)) == [part(1), part(2)]
    assert list(read_parts(whole_ones + bytes(100), 0)) == [part(1), part(2)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[apsw.Connection]:
    """A database of many kinds of pages, with a log."""
    connection = apsw.Connection(str(tmp_path / "pages.sqlite3"))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").fetchall()
    yield connection
    connection.close()


def test_G4_pages_without_their_unused_room_make_the_same_database(
    database: apsw.Connection, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE a (x INTEGER PRIMARY KEY, y); CREATE INDEX b ON a (y)")
    for round_ in range(30):
        database.execute(
            "INSERT INTO a (y) SELECT randomblob(abs(random()) % 9000) FROM a UNION ALL VALUES (1)"
        ) if (round_ < 8) else database.execute("DELETE FROM a WHERE x % 3 = ?", (round_ % 3,))
        database.execute("INSERT INTO a (y) VALUES (?)", (f"text {round_}",))
    frames = (tmp_path / "pages.sqlite3-wal").read_bytes()[32:]
    frames = frames[: len(frames) // FRAME_BYTES * FRAME_BYTES]
    pages, size = pages_of(frames)
    copy = tmp_path / "copy.sqlite3"
    with copy.open("wb") as file:
        for page in pages:
            assert len(whole(page)) == PAGE_BYTES
            file.seek((page[0] - 1) * PAGE_BYTES)
            file.write(whole(page))
        file.truncate(size * PAGE_BYTES)
    query = "SELECT * FROM a ORDER BY x"
    with apsw.Connection(str(copy)) as copied:
        assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copied.execute(query).fetchall() == database.execute(query).fetchall()
    copied.close()
    assert sum(len(before) + len(after) for _, before, after in pages) < len(pages) * PAGE_BYTES
