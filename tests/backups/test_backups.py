"""Copies of local objects: consistent, durable, made once for each change, checked and restored."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage

from durable.backups import Archive, ArchiveError, Backups, Made, NoCopyError, StoredCopy
from durable.backups.contents import BadCopyError
from durable.errors import StorageError
from durable.identity import id_from_name, id_from_string
from durable.inspector import Inspector
from durable.models import AuditEntry, BackupState
from durable.storage.store import object_path
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, RelaxedLab, do, lab, put

from .conftest import Calendar, WrittenCatalog

pytestmark = pytest.mark.django_db(transaction=True)

ID = id_from_name("Lab", "lab")
OTHER = id_from_name("Lab", "other")


def rows(archive: Archive, copy: StoredCopy, folder: Path, sql: str) -> list[Any]:
    """What a copy says."""
    archive.fetch(copy, folder / "fetched")
    with closing(sqlite3.connect(folder / "fetched")) as plain:
        return plain.execute(sql).fetchall()


async def grow(obj: Lab, megabytes: int) -> None:
    for number in range(megabytes):
        put(obj, f"k{number:03}", bytes([number]) * 1_000_000)


def damage(storage: InMemoryStorage, copy: StoredCopy, at: int = 5000) -> None:
    """Flip one bit of a stored copy."""
    with storage.open(copy.path) as file:
        content = bytearray(file.read())
    content[at] ^= 1
    storage.delete(copy.path)
    storage.save(copy.path, ContentFile(bytes(content)))


@pytest.mark.parametrize("asleep", [False, True])
async def test_N1_a_copy_has_what_the_object_stores_and_wakes_nothing(
    local: LocalObjects, backups: Backups, archive: Archive, tmp_path: Path, asleep: bool
) -> None:
    await lab().increment()
    if asleep:
        await local.evict(lab())
    assert await backups.make(ID) is Made.COPIED
    assert local.is_active(lab()) is not asleep
    (copy,) = await backups.copies(ID)
    assert rows(archive, copy, tmp_path, "SELECT key FROM _do_kv") == [("value",)]
    assert rows(archive, copy, tmp_path, "SELECT class_key, id, seq FROM _do_meta") == [
        ("Lab", str(ID), copy.seq)
    ]
    assert not list((local.conf.data_dir.parent / "exports").iterdir())


async def test_what_has_not_changed_is_not_copied_again(
    local: LocalObjects, backups: Backups, calendar: Calendar
) -> None:
    await lab().increment()
    assert await backups.make(ID) is Made.COPIED
    calendar.advance(hours=1)
    assert await backups.make(ID) is Made.UNCHANGED
    await local.evict(lab())
    assert await backups.make(ID) is Made.UNCHANGED
    await lab().increment()
    assert await backups.make(ID) is Made.COPIED
    assert len(await backups.copies(ID)) == 2


async def test_an_object_that_stores_nothing_has_no_copy(local: LocalObjects, backups: Backups) -> None:
    assert await backups.make(ID) is Made.ABSENT
    assert await lab().value() == 0  # active, in memory
    assert await backups.make(ID) is Made.ABSENT
    assert await backups.copies(ID) == []
    assert await BackupState.objects.acount() == 0


async def test_B1_a_copy_made_during_writes_is_of_one_moment(
    local: LocalObjects, backups: Backups, archive: Archive, tmp_path: Path
) -> None:
    async def prepare(obj: Lab) -> None:
        await grow(obj, 20)
        obj.ctx.storage.sql.exec("CREATE TABLE debit (n INTEGER PRIMARY KEY, amount INTEGER)")
        obj.ctx.storage.sql.exec("CREATE TABLE credit (n INTEGER PRIMARY KEY, amount INTEGER)")

    async def transfer(obj: Lab, amount: int) -> None:
        obj.ctx.storage.sql.exec("INSERT INTO debit (amount) VALUES (?)", amount)
        put(obj, f"k{amount % 20:03}", bytes([amount % 256]) * 1_000_000)  # pages that were copied already
        obj.ctx.storage.sql.exec("INSERT INTO credit (amount) VALUES (?)", amount)

    await do(lab(), prepare)
    made = asyncio.create_task(backups.make(ID))
    during = 0
    while not made.done():
        await do(lab(), transfer, during)
        during += 1
    assert await made is Made.COPIED
    assert during > 10  # the copy kept nobody waiting
    (copy,) = await backups.copies(ID)
    sums = "SELECT (SELECT count(*) FROM debit), (SELECT count(*) FROM credit), (SELECT max(n) FROM credit)"
    ((debits, credits, last),) = rows(archive, copy, tmp_path, sums)
    assert debits == credits == last
    assert 0 < debits <= during
    assert rows(archive, copy, tmp_path, "PRAGMA integrity_check") == [("ok",)]
    values = rows(
        archive,
        copy,
        tmp_path,
        f"SELECT amount, (SELECT substr(value, -1) FROM _do_kv WHERE key = 'k' || printf('%03d', {debits - 1} % 20)) FROM credit WHERE n = {debits}",
    )
    assert values == [(debits - 1, bytes([(debits - 1) % 256]))]


async def test_a_copy_that_is_under_way_when_its_object_sleeps_is_begun_anew(
    local: LocalObjects, backups: Backups
) -> None:
    await do(lab(), grow, 20)
    made = asyncio.create_task(backups.make(ID))
    while not list(local.host.exports.glob("*.sqlite3")):
        await asyncio.sleep(0)
    await local.evict(lab())
    assert not made.done()
    assert await made is Made.COPIED
    assert not list(local.host.exports.iterdir())
    (checked,) = await backups.verify(ID)
    assert checked.problem is None


@pytest.mark.parametrize("kind", [Lab, RelaxedLab])
async def test_B1_a_copy_has_nothing_that_could_still_be_lost(
    local: LocalObjects, backups: Backups, kind: type[Lab]
) -> None:
    stub = lab(kind=kind)
    await stub.increment()
    await local.evict(stub)
    await stub.value()
    with local.commits.held():
        writing = asyncio.create_task(stub.increment())
        if kind is Lab:
            await local.commits.waiting()
        else:
            await writing  # answered before its commit is durable
        made = asyncio.create_task(backups.make(stub.id))
        await local.settle()
        await asyncio.wait([made], timeout=0.2)
        assert not made.done()
    await writing
    assert await made is Made.COPIED


async def test_what_a_dead_owner_left_in_the_log_is_made_durable_and_copied(
    local: LocalObjects, backups: Backups, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab().increment()
    await lab().increment()  # the first one is in the file itself
    await local.crash()
    log = Path(f"{object_path(local.conf.data_dir, ID)}-wal")
    assert log.stat().st_size > 0
    synced: list[Path] = []
    monkeypatch.setattr("durable.storage.durability.sync_file", synced.append)
    assert await backups.make(ID) is Made.COPIED
    assert synced == [log]
    assert rows(archive, (await backups.copies(ID))[0], tmp_path, "SELECT count(*) FROM _do_kv") == [(1,)]


async def test_a_write_after_the_copy_is_a_change(
    local: LocalObjects, backups: Backups, catalog: WrittenCatalog
) -> None:
    async def changed() -> bool:
        await catalog.write()
        return (await BackupState.objects.aget(object_id=str(ID))).changed_at is not None

    await lab().increment()
    assert await changed()
    await backups.make(ID)
    assert not await changed()
    await lab().increment()  # the same activation
    assert await changed()
    await backups.make(ID)
    await local.evict(lab())
    assert await lab().value() == 2  # another one, which only reads
    await local.evict(lab())
    assert not await changed()
    await lab().increment()
    assert await changed()


async def test_a_change_noted_while_a_copy_is_made_is_not_forgotten(
    local: LocalObjects,
    backups: Backups,
    catalog: WrittenCatalog,
    storage: InMemoryStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lab().increment()
    await catalog.write()
    noting: list[Any] = []
    save = storage._save
    loop = asyncio.get_running_loop()

    async def change() -> None:
        await lab().increment()
        await catalog.write()

    def slow(name: str, content: Any) -> str:
        noting.append(asyncio.run_coroutine_threadsafe(change(), loop).result(5))
        return str(save(name, content))

    monkeypatch.setattr(storage, "_save", slow)
    assert await backups.make(ID) is Made.COPIED
    assert noting
    assert (await BackupState.objects.aget(object_id=str(ID))).changed_at is not None


async def test_two_do_not_copy_one_object_at_once(local: LocalObjects, backups: Backups) -> None:
    await do(lab(), grow, 20)
    made = await asyncio.gather(backups.make(ID), backups.make(ID))
    assert sorted(one.value for one in made) == ["busy", "copied"]


async def test_B3_only_so_many_copies_are_kept(
    local: LocalObjects, backups: Backups, operator: Inspector, calendar: Calendar, storage: InMemoryStorage
) -> None:
    keep = operator.conf.backup_keep
    for _ in range(keep + 3):
        await lab().increment()
        await backups.make(ID)
        calendar.advance(seconds=1)
    copies = await backups.copies(ID)
    assert keep <= len(copies) <= keep + 2  # with the last one of a day, where midnight fell in between
    assert len(storage.listdir(copies[0].path.rpartition("/")[0])[1]) == len(copies)


async def test_what_was_not_written_to_the_end_is_no_copy_and_is_cleared_away(
    local: LocalObjects, backups: Backups, storage: InMemoryStorage, calendar: Calendar
) -> None:
    await lab().increment()
    await backups.make(ID)
    (copy,) = await backups.copies(ID)
    half = copy.path.replace(copy.label, "29990101T000000.000Z")
    storage.save(half, ContentFile(b"half"))
    assert await backups.copies(ID) == [copy]
    assert await backups.restore(ID) == copy
    assert [problem for _, problem in await backups.verify(ID) if problem] == [
        f"the copy {half} was not written to the end"
    ]
    await lab().increment()
    calendar.advance(seconds=1)
    await backups.make(ID)
    assert not storage.exists(half)


async def test_B4_a_flipped_bit_is_found(
    local: LocalObjects, backups: Backups, storage: InMemoryStorage
) -> None:
    await lab().increment()
    await backups.make(ID)
    (copy,) = await backups.copies(ID)
    assert [problem for _, problem in await backups.verify(ID)] == [None]
    damage(storage, copy)
    ((_, problem),) = await backups.verify(ID)
    assert problem is not None
    assert "damaged" in problem


async def test_a_copy_that_is_removed_while_others_are_verified_is_no_problem(
    local: LocalObjects, backups: Backups, storage: InMemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await lab().increment()
        await backups.make(ID)
    newest, oldest = await backups.copies(ID)
    read = storage.open

    def read_late(name: str, mode: str = "rb") -> Any:
        if name == newest.path:  # which is checked first
            storage.delete(oldest.path)
        return read(name, mode)

    monkeypatch.setattr(storage, "open", read_late)
    assert await backups.verify(ID) == [(newest, None)]


async def test_B4_a_copy_of_another_object_is_found(
    local: LocalObjects, backups: Backups, archive: Archive, calendar: Calendar, tmp_path: Path
) -> None:
    await lab().increment()
    await backups.make(ID)
    (copy,) = await backups.copies(ID)
    archive.fetch(copy, tmp_path / "x")
    archive.save(OTHER, tmp_path / "x", calendar(), copy.seq, copy.digest)
    ((_, problem),) = await backups.verify(OTHER)
    assert problem is not None
    assert f"is of Lab {ID}" in problem
    with pytest.raises(BadCopyError):
        await backups.restore(OTHER)


async def test_a_damaged_object_is_not_copied_over_its_good_copies(
    local: LocalObjects, backups: Backups
) -> None:
    await do(lab(), grow, 3)
    await backups.make(ID)
    await local.evict(lab())
    with object_path(local.conf.data_dir, ID).open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\x5a" * 4096 * 3)
    with pytest.raises(StorageError, match="damaged"):
        await backups.make(ID)
    assert len(await backups.copies(ID)) == 1
    assert "damaged" in (await BackupState.objects.aget()).error


async def test_O3_an_object_is_restored_to_a_chosen_copy(
    local: LocalObjects, backups: Backups, operator: Inspector, calendar: Calendar
) -> None:
    for _ in range(3):
        await lab().increment()
        await backups.make(ID)
        calendar.advance(minutes=1)
    copies = await backups.copies(ID)
    before = (await operator.show(ID))["epoch"]
    assert await backups.restore(ID, copies[1].label) == copies[1]
    assert await lab().value() == 2
    assert (await operator.show(ID))["epoch"] > before
    assert await lab().increment() == 3
    assert await backups.restore(ID) == copies[0]
    assert await lab().value() == 3
    entry = await AuditEntry.objects.filter(what="object.restore").afirst()
    assert entry is not None
    assert (entry.result, entry.name, entry.details) == ("ok", "lab", {"copy": copies[0].path})


async def test_what_was_there_before_is_kept_beside_and_can_be_imported(
    local: LocalObjects, backups: Backups, operator: Inspector
) -> None:
    await lab().increment()
    await backups.make(ID)
    await lab().increment()
    await backups.restore(ID)
    path = object_path(local.conf.data_dir, ID)
    (kept,) = path.parent.glob("*.replaced-*")
    with closing(sqlite3.connect(kept)) as plain:
        assert plain.execute("SELECT seq FROM _do_meta").fetchall() == [(2,)]
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    await operator.import_file(ID, kept, replace=True)
    assert await lab().value() == 2


async def test_an_object_that_is_meant_by_its_id_keeps_its_name(
    local: LocalObjects, backups: Backups, operator: Inspector
) -> None:
    await lab().increment()
    await backups.make(ID)
    await operator.delete(ID)
    await backups.restore(id_from_string("Lab", str(ID)))
    assert (await operator.show(id_from_string("Lab", str(ID))))["name"] == "lab"


async def test_the_newest_sound_copy_is_restored(
    local: LocalObjects, backups: Backups, storage: InMemoryStorage, calendar: Calendar
) -> None:
    for _ in range(3):
        await lab().increment()
        await backups.make(ID)
        calendar.advance(minutes=1)
    newest, second, third = await backups.copies(ID)
    damage(storage, newest)
    assert await backups.restore(ID) == second
    assert await lab().value() == 2
    with pytest.raises(ArchiveError, match="damaged"):
        await backups.restore(ID, newest.label)
    damage(storage, second)
    damage(storage, third)
    with pytest.raises(ArchiveError, match="damaged"):
        await backups.restore(ID)
    assert await lab().value() == 2


async def test_a_deleted_object_is_restored(
    local: LocalObjects, backups: Backups, operator: Inspector
) -> None:
    await lab().increment()
    await backups.make(ID)
    await operator.delete(ID)
    assert not local.has_file(lab())
    await backups.restore(ID)
    assert await lab().value() == 1


async def test_clients_of_a_restored_object_come_back(local: LocalObjects, backups: Backups) -> None:
    HOOKS["connect"] = lambda obj, ws: obj.ctx.accept_web_socket(ws)
    await lab().increment()
    socket = await local.connect(lab())
    await backups.make(ID)
    await backups.restore(ID)
    assert await socket.closed() == 1012


async def test_B5_calls_that_wait_meanwhile_find_the_copy(local: LocalObjects, backups: Backups) -> None:
    await lab().increment()
    await backups.make(ID)
    for _ in range(5):
        await lab().increment()
    restored = asyncio.create_task(backups.restore(ID))
    seen = []
    while not restored.done():
        seen.append(await lab().increment())
    await restored
    after = await lab().increment()
    assert after < 6 + len(seen)  # it counts from the copy
    falls = [later for earlier, later in zip([6, *seen], [*seen, after], strict=True) if later != earlier + 1]
    assert falls == [2]


async def test_a_copy_that_is_not_there_is_refused_with_those_that_are(
    local: LocalObjects, backups: Backups
) -> None:
    with pytest.raises(NoCopyError, match="no copy"):
        await backups.restore(ID)
    await lab().increment()
    await backups.make(ID)
    (copy,) = await backups.copies(ID)
    with pytest.raises(NoCopyError, match=copy.label):
        await backups.restore(ID, "1999")


async def test_N3_a_restore_that_finds_no_sound_copy_is_recorded(
    local: LocalObjects, backups: Backups, storage: InMemoryStorage
) -> None:
    await lab().increment()
    await backups.make(ID)
    (copy,) = await backups.copies(ID)
    damage(storage, copy)
    with pytest.raises(ArchiveError, match="damaged"):
        await backups.restore(ID, copy.label)
    entry = await AuditEntry.objects.aget(what="object.restore")
    assert (entry.who, entry.class_key, entry.object_id, entry.name) == ("user:op", "Lab", str(ID), "lab")
    assert (entry.result, entry.details["copy"]) == ("failed", copy.label)
    assert entry.details["error"].startswith("ArchiveError: ")
