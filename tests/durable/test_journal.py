"""The journal: one sync for many objects, and what is replayed of it after a power cut."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from durable.identity import id_from_name
from durable.storage import journal, records
from durable.storage.durability import SyncPool
from durable.storage.images import prepare_image
from durable.storage.journal import FOLDER
from durable.storage.pages import FRAME_BYTES, PAGE_BYTES, pages_of, whole
from durable.storage.records import MAGIC, Part, framed, read_head, read_parts
from durable.storage.replay import replay, settle
from durable.storage.rewrite import mark_unsynced
from durable.storage.segment import STEP_BYTES, Segment
from durable.storage.store import Store
from durable.testing import LocalObjects, local_objects
from tests.durable.conftest import open_store
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
    monkeypatch.setattr(records, "boot_id", lambda: "another")
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


def part(n: int, content: bytes = b"abc") -> Part:
    """Some record."""
    return Part("Lab/00/x.sqlite3", 5, n, n + 1, 2, [(1, content, b"xyz")])


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


# --- What is replayed, and what is not

RUN = "an earlier run of the machine"


@pytest.fixture
def power_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process finds was left by an earlier run of the machine."""
    monkeypatch.setattr(records, "boot_id", lambda: "this run")


class Life:
    """One object's file after its first commits, and as it was after some more, which only a journal has."""

    def __init__(self, root: Path, pool: SyncPool) -> None:
        self.root = root
        store = open_store(root, pool)
        self.path = store.database.path
        self.name = str(self.path.relative_to(root))
        self._commit(store, 2)
        store.close()
        store = open_store(root, pool)
        before = {file: file.read_bytes() for file in self.path.parent.iterdir()}
        self.first = store.transactions.seq
        self._commit(store, 3)
        self.last = store.transactions.seq
        pages, self.size = pages_of(Path(f"{self.path}-wal").read_bytes()[32:])
        self.pages = pages
        self.created_at = store.created_at
        store.abandon()
        for file in self.path.parent.iterdir():
            file.unlink()
        for file, content in before.items():
            file.write_bytes(content)

    def _commit(self, store: Store, times: int) -> None:
        for _ in range(times):
            store.kv.put_many({"n": store.kv.get("n", 0) + 1})
            store.commit()

    def part(self, **changes: Any) -> Part:
        """What the journal has of it."""
        part = Part(self.name, self.created_at, self.first, self.last, self.size, self.pages)
        return msgspec.structs.replace(part, **changes)

    def leave(self, *parts: Part, run: str = RUN, more: bytes = b"") -> Path:
        """A journal with these records."""
        (self.root / FOLDER).mkdir(exist_ok=True)
        head = msgspec.msgpack.encode(run)
        path = self.root / FOLDER / "w.1.journal"
        path.write_bytes(MAGIC + len(head).to_bytes(4, "big") + head + b"".join(map(framed, parts)) + more)
        return path

    def value(self, pool: SyncPool) -> int:
        """What is stored."""
        store = open_store(self.root, pool)
        value = store.kv.get("n")
        store.abandon()
        return int(value)


@pytest.fixture
def life(tmp_path: Path, pool: SyncPool) -> Life:
    return Life(tmp_path, pool)


@pytest.mark.usefixtures("power_was_cut")
def test_G4_a_record_brings_a_file_up_to_date(life: Life, pool: SyncPool) -> None:
    left = life.leave(life.part(), more=framed(life.part())[:40])
    replay(life.root)
    assert not left.exists()
    assert life.value(pool) == 5
    assert sorted(path.suffix for path in life.path.parent.iterdir()) == [".sqlite3", ".sqlite3-wal"]


@pytest.mark.usefixtures("power_was_cut")
def test_G4_records_of_another_object_of_that_name_of_older_commits_and_beyond_a_gap_are_left_out(
    life: Life, pool: SyncPool, caplog: pytest.LogCaptureFixture
) -> None:
    other = life.part(created_at=life.created_at + 1)
    old = life.part(first=0, last=life.first)
    beyond = life.part(first=life.last + 1, last=life.last + 2)
    left = life.leave(other, old, beyond)
    replay(life.root)
    assert not left.exists()
    assert life.value(pool) == 2
    assert "are in no journal" in caplog.text


@pytest.mark.usefixtures("power_was_cut")
def test_G4_records_of_files_that_are_gone_empty_or_damaged_do_no_harm(
    life: Life, pool: SyncPool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = life.path.parent
    (folder / "empty.sqlite3").touch()
    (folder / "damaged.sqlite3").write_bytes(b"x" * 8192)
    names = [
        str((folder / name).relative_to(life.root))
        for name in ("gone.sqlite3", "empty.sqlite3", "damaged.sqlite3")
    ]
    left = life.leave(*(life.part(path=name) for name in names), life.part())
    replay(life.root)
    assert not left.exists()
    assert "damaged.sqlite3 could not be replayed" in caplog.text
    assert life.value(pool) == 5
    assert (folder / "empty.sqlite3").stat().st_size == 0
    assert not (folder / "gone.sqlite3").exists()


@pytest.mark.usefixtures("power_was_cut")
@pytest.mark.parametrize("step", range(12))
def test_G4_a_replay_that_is_cut_off_is_done_again(
    life: Life, pool: SyncPool, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    life.leave(life.part())
    count = 0

    def counted(real: Any) -> Any:
        def step_or_die(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > step:
                raise OSError("the power fails")
            return real(*args, **options)

        return step_or_die

    with monkeypatch.context() as cut:
        for name in ("fsync", "unlink", "rename"):
            cut.setattr(os, name, counted(getattr(os, name)))
        with suppress(OSError):
            replay(life.root)
    replay(life.root)
    assert life.value(pool) == 5


def test_G4_a_journal_of_a_living_worker_is_left_alone(
    life: Life, pool: SyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = life.leave(life.part(), run="this run")
    monkeypatch.setattr(records, "boot_id", lambda: "another run")
    with left.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        replay(life.root)
        settle(life.root)
        assert left.exists()
    assert life.value(pool) == 2


def test_G4_what_waits_to_be_rewritten_keeps_its_journal(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    left = life.leave(life.part(), run="this run")
    monkeypatch.setattr(records, "boot_id", lambda: "this run")
    mark_unsynced(life.path)
    settle(life.root)
    assert left.exists()


@pytest.mark.usefixtures("power_was_cut")
def test_G4_who_also_looks_at_a_journal_is_not_taken_for_its_owner(life: Life, pool: SyncPool) -> None:
    left = life.leave(life.part())
    with left.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        replay(life.root)
    assert life.value(pool) == 5


@pytest.mark.usefixtures("power_was_cut")
def test_G4_what_somebody_holds_keeps_its_journal_until_it_can_be_replayed(
    life: Life, pool: SyncPool
) -> None:
    left = life.leave(life.part())
    script = (
        "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.execute('PRAGMA locking_mode=EXCLUSIVE');"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(life.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OSError, match="holds it"):
            replay(life.root)
        assert left.exists()
        holder.kill()
    replay(life.root)
    assert life.value(pool) == 5


def test_G4_no_journal_is_ever_seen_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = fcntl.flock

    def look(descriptor: int, kind: int) -> None:
        seen.append([path.name for path in tmp_path.glob("*/*.journal")])
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", look)
    segment = Segment(tmp_path / FOLDER / "w.1.journal")
    segment.append(b"x")
    assert seen == [[]]
    assert segment.path.exists()
    segment.delete()


def test_G4_a_journal_that_was_let_go_of_stays_as_it_is(tmp_path: Path) -> None:
    segment = Segment(tmp_path / FOLDER / "worker.1.journal")
    segment.append(framed(part(1)))
    content = segment.path.read_bytes()
    segment.close()
    with pytest.raises(
        OSError, match="closed"
    ):  # what was still on its way to the disk when the worker gave up
        segment.append(framed(part(2)))
    assert segment.path.read_bytes() == content
    assert os.listdir(segment.path.parent) == [segment.path.name]


def test_G4_a_journal_never_takes_the_place_of_another(tmp_path: Path) -> None:
    first, second = (Segment(tmp_path / FOLDER / "worker.1.journal") for _ in range(2))
    first.append(framed(part(1)))
    content = first.path.read_bytes()
    with pytest.raises(FileExistsError):
        second.append(framed(part(2)))
    second.delete()
    assert first.path.read_bytes() == content
    assert os.listdir(first.path.parent) == [first.path.name]
    first.append(framed(part(2)))
    assert _parts(first.path) == [part(1), part(2)]


def test_G4_a_journal_makes_room_ahead_and_what_is_read_ends_with_the_last_record(tmp_path: Path) -> None:
    segment = Segment(tmp_path / FOLDER / "worker.1.journal")
    written = []
    while segment.size < 3 * STEP_BYTES:
        written.append(part(len(written), os.urandom(100_000)))
        segment.append(framed(written[-1]))
        assert segment.size < segment.path.stat().st_size <= segment.size + STEP_BYTES
    assert _parts(segment.path) == written
    assert not segment.path.read_bytes()[segment.size :].strip(b"\0")


def _parts(path: Path) -> list[Part]:
    content = path.read_bytes()
    head = read_head(content)
    assert head is not None
    return list(read_parts(content, head[1]))


def test_G4_an_image_that_takes_an_objects_place_begins_beyond_what_any_journal_has(life: Life) -> None:
    draft = life.root / "draft"
    object_id = id_from_name("Lab", "x")
    prepare_image(life.path, draft, object_id, epoch=1, migrations=0)
    with apsw.Connection(str(draft)) as image:
        ((seq,),) = image.execute("SELECT seq FROM _do_meta").fetchall()
    image.close()
    assert seq > life.last + 1_000_000
