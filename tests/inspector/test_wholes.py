"""Export, import and deletion of whole objects, beside running local objects."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from durable.errors import NotCallableError, RemoteError
from durable.identity import id_from_name
from durable.inspector import Inspector, copies
from durable.inspector.looks import Looker
from durable.inspector.wholes import AbsentObjectError, ObjectExistsError
from durable.models import AuditEntry, ObjectRecord, ObjectTrouble, moment
from durable.storage.images import ImageError
from durable.storage.store import object_path
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, do, lab, put

pytestmark = pytest.mark.django_db(transaction=True)

ID = id_from_name("Lab", "lab")
TWIN = id_from_name("Lab", "twin")


@pytest.fixture(autouse=True)
def _plain_lab() -> Iterator[None]:
    yield
    HOOKS.clear()


async def fill(obj: Lab) -> None:
    put(obj, "colour", "blue")
    obj.ctx.storage.sql.exec(
        "CREATE TABLE IF NOT EXISTS item (name TEXT PRIMARY KEY, parent REFERENCES item)"
    )
    obj.ctx.storage.sql.exec("INSERT OR IGNORE INTO item (name) VALUES ('é😀')")
    obj.ctx.storage.set_alarm(obj.ctx.now() + 60_000)


async def content(obj: Lab) -> Any:
    storage = obj.ctx.storage
    return storage.list(), storage.sql.exec("SELECT name FROM item").to_list(), storage.get_alarm()


def rows(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as plain:
        return plain.execute(sql).fetchall()


async def accept(obj: Lab, ws: Any) -> None:
    obj.ctx.accept_web_socket(ws)


def no_leftovers(local: LocalObjects) -> bool:
    return not list((local.conf.data_dir.parent / "exports").iterdir())


@pytest.mark.parametrize("asleep", [False, True])
async def test_S12_export_and_import_make_an_equal_object(
    local: LocalObjects, operator: Inspector, tmp_path: Path, asleep: bool
) -> None:
    HOOKS["connect"] = accept
    await do(lab(), fill)
    socket = await local.connect(lab())
    if asleep:
        await local.evict(lab())
    file = tmp_path / "lab.sqlite3"
    size = await operator.export(ID, file)
    assert size == file.stat().st_size
    assert local.is_active(lab()) is not asleep
    assert socket.is_open
    assert file.stat().st_mode & 0o777 == 0o600
    assert rows(file, "PRAGMA journal_mode") == [("delete",)]
    assert rows(file, "SELECT name FROM item") == [("é😀",)]
    assert rows(file, "SELECT class_key, id, name FROM _do_meta") == [("Lab", str(ID), "lab")]
    assert rows(file, "SELECT (SELECT count(*) FROM _do_sockets) + (SELECT count(*) FROM _do_calls)") == [
        (0,)
    ]

    await operator.import_file(TWIN, file)
    assert await do(lab("twin"), content) == await do(lab(), content)
    shown = await operator.show(TWIN)
    assert (shown["name"], shown["id"], shown["sockets"]) == ("twin", str(TWIN), 0)
    record = await ObjectRecord.objects.aget(object_id=str(TWIN))
    assert (record.name, record.alarm_at is None) == ("twin", False)
    assert local.alarm(lab("twin")) == local.alarm(lab())
    assert no_leftovers(local)
    assert [(e.what, e.result) async for e in AuditEntry.objects.order_by("id")] == [
        ("object.export", "ok"),
        ("object.import", "ok"),
    ]


async def test_S12_an_export_waits_for_the_running_event_and_has_all_of_it(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(obj: Lab) -> None:
        put(obj, "first", 1)
        begun.set()
        await go_on.wait()
        put(obj, "second", 2)

    running = asyncio.create_task(do(lab(), slow))
    await begun.wait()
    exporting = asyncio.create_task(operator.export(ID, tmp_path / "x"))
    await local.settle()
    go_on.set()
    await asyncio.gather(running, exporting)
    assert rows(tmp_path / "x", "SELECT key FROM _do_kv") == [("first",), ("second",)]


async def test_S12_an_export_of_a_large_object_is_copied_in_steps(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    async def grow(obj: Lab) -> None:
        for number in range(20):
            put(obj, f"k{number:02}", bytes([number]) * 1_000_000)

    await do(lab(), grow)
    assert await operator.export(ID, tmp_path / "x") > 20_000_000
    await operator.import_file(TWIN, tmp_path / "x")

    async def sizes(obj: Lab) -> int:
        return sum(len(value) for value in obj.ctx.storage.list().values())

    assert await do(lab("twin"), sizes) == 20_000_000


async def test_S12_a_sleeping_object_is_exported_however_much_a_mere_look_would_read(
    local: LocalObjects, operator: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(lab(), fill)
    await local.evict(lab())
    monkeypatch.setattr(copies, "MOST_BYTES", 100)
    await operator.export(ID, tmp_path / "lab.sqlite3")
    assert rows(tmp_path / "lab.sqlite3", "SELECT name FROM item") == [("é😀",)]
    assert "more than 100 bytes" in (await operator.show(ID))["problem"]


async def test_S9_a_damaged_object_is_replaced_however_much_a_mere_look_would_read(
    local: LocalObjects, operator: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(lab(), fill)
    await operator.export(ID, tmp_path / "lab.sqlite3")
    await local.evict(lab())
    path = object_path(local.conf.data_dir, ID)
    path.write_bytes(b"\x5a" * path.stat().st_size)
    monkeypatch.setattr(copies, "MOST_BYTES", 100)
    monkeypatch.setattr(Looker, "_owns", False)  # an operator's command is a process of its own
    await operator.import_file(ID, tmp_path / "lab.sqlite3", replace=True)
    assert (await do(lab(), content))[1] == [("é😀",)]
    assert len(list(path.parent.glob("*.sqlite3.damaged-*"))) == 1


async def test_an_export_is_for_its_owner_only_also_while_it_is_written(
    local: LocalObjects, operator: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(lab(), fill)
    copy, modes = shutil.copyfile, []

    def copy_watched(source: Path, target: Path) -> None:
        copy(source, target)
        modes.append(stat.S_IMODE(target.stat().st_mode))

    monkeypatch.setattr(shutil, "copyfile", copy_watched)
    umask = os.umask(0o022)
    try:
        await operator.export(ID, tmp_path / "lab.sqlite3")
    finally:
        os.umask(umask)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "lab.sqlite3").stat().st_mode) == 0o600


async def test_an_export_replaces_files_and_nothing_else(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    await do(lab(), fill)
    folder = tmp_path / "given"
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, folder, Path("/")):
        with pytest.raises(OSError, match="not a plain file"):
            await operator.export(ID, target)
    with pytest.raises(OSError, match=f"there is no folder {tmp_path}/nowhere"):
        await operator.export(ID, tmp_path / "nowhere" / "lab.sqlite3")
    assert pipe.is_fifo()
    assert list(folder.iterdir()) == [pipe]
    assert (await AuditEntry.objects.afirst()).result == "failed"  # type: ignore[union-attr]


async def test_an_object_that_stores_nothing_is_not_exported(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    with pytest.raises(AbsentObjectError):
        await operator.export(ID, tmp_path / "x")
    assert await lab().value() == 0  # active, in memory
    with pytest.raises(AbsentObjectError):
        await operator.export(ID, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not local.has_file(lab())


async def test_an_import_does_not_touch_an_object_that_exists(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    await do(lab(), fill)
    await operator.export(ID, tmp_path / "x")
    await lab("twin").increment()
    with pytest.raises(ObjectExistsError, match="--replace"):
        await operator.import_file(TWIN, tmp_path / "x")
    assert await lab("twin").value() == 1
    assert (await AuditEntry.objects.alatest("id")).result == "refused"


async def test_O3_a_replaced_object_has_a_later_epoch(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    await do(lab(), fill)
    await operator.export(ID, tmp_path / "x")
    await lab("twin").increment()
    before = (await operator.show(TWIN))["epoch"]
    await operator.import_file(TWIN, tmp_path / "x", replace=True)
    assert await do(lab("twin"), content) == await do(lab(), content)
    assert await lab("twin").value() == 0
    assert (await operator.show(TWIN))["epoch"] > before
    local.cluster.owners.clear()  # Redis has lost everything
    await local.crash()
    assert await do(lab("twin"), content) == await do(lab(), content)
    assert (await operator.show(TWIN))["epoch"] > before + 1


async def test_an_instance_that_had_stored_nothing_sees_the_import(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    await do(lab(), fill)
    await operator.export(ID, tmp_path / "x")
    assert await lab("twin").value() == 0
    assert local.is_active(lab("twin"))
    await operator.import_file(TWIN, tmp_path / "x")
    assert await do(lab("twin"), content) == await do(lab(), content)


async def test_an_imported_alarm_runs(local: LocalObjects, operator: Inspector, tmp_path: Path) -> None:
    ran: list[str | None] = []

    async def alarm(obj: Lab, info: Any) -> None:
        ran.append(obj.ctx.id.name)

    HOOKS["alarm"] = alarm
    await do(lab(), fill)
    await operator.export(ID, tmp_path / "x")
    await operator.import_file(TWIN, tmp_path / "x")
    await local.evict(lab("twin"))
    assert await local.run_alarm(lab("twin"))
    assert "twin" in ran


def _sabotage(file: Path, sql: str) -> None:
    with closing(sqlite3.connect(file)) as plain:
        plain.executescript(sql)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE _do_calls", "no export of an object"),
        ("CREATE TRIGGER t AFTER UPDATE ON _do_meta BEGIN DELETE FROM _do_kv; END", "no export of an object"),
        ("UPDATE _do_meta SET class_key = 'Counter'", "of class 'Counter', not 'Lab'"),
        ("UPDATE _do_meta SET class_version = 9", "seen 9 migrations"),
        ("UPDATE _do_meta SET format = 9", "format 9"),
        ("DELETE FROM _do_meta", "whose it is"),
        ("PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM", "pages of 4096 bytes"),
    ],
)
async def test_a_file_that_does_not_fit_is_refused(
    local: LocalObjects, operator: Inspector, tmp_path: Path, sql: str, said: str
) -> None:
    await do(lab(), fill)
    file = tmp_path / "x"
    await operator.export(ID, file)
    _sabotage(file, sql)
    with pytest.raises(ImageError, match=said):
        await operator.import_file(TWIN, file)
    assert not object_path(local.conf.data_dir, TWIN).exists()
    assert no_leftovers(local)


async def test_no_database_at_all_is_refused(
    local: LocalObjects, operator: Inspector, tmp_path: Path
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(ImageError, match="no export of an object"):
        await operator.import_file(TWIN, file)


@pytest.mark.parametrize("asleep", [False, True])
async def test_S4_an_operator_deletes_everything(
    local: LocalObjects, operator: Inspector, asleep: bool
) -> None:
    HOOKS["connect"] = accept
    await do(lab(), fill)
    socket = await local.connect(lab())
    if asleep:
        await local.evict(lab())
    assert await operator.delete(ID)
    assert await socket.closed() == 1001
    assert not local.has_file(lab())
    assert local.alarm(lab()) is None
    assert str(ID) not in local.catalog.entries
    assert await lab().value() == 0
    assert not await operator.delete(ID)
    assert (await AuditEntry.objects.afirst()).what == "object.delete"  # type: ignore[union-attr]


async def test_an_object_that_cannot_start_can_be_deleted(local: LocalObjects, operator: Inspector) -> None:
    await lab().increment()
    await local.evict(lab())

    def broken(obj: Lab) -> None:
        raise RuntimeError("cannot start")

    HOOKS["start"] = broken
    with pytest.raises(RemoteError):
        await lab().value()
    at = moment(1_000)
    for target in (ID, TWIN):
        await ObjectTrouble.objects.acreate(
            class_key="Lab",
            object_id=str(target),
            kind="start",
            message="cannot start",
            first_at=at,
            last_at=at,
        )
    assert await operator.delete(ID)
    assert not local.has_file(lab())
    assert [trouble.object_id async for trouble in ObjectTrouble.objects.all()] == [str(TWIN)]


async def test_A4_an_operator_runs_an_abandoned_alarm_again(local: LocalObjects, operator: Inspector) -> None:
    ran = []

    def ring(obj: Lab, info: Any) -> None:
        ran.append(info.retry_count)
        if len(ran) <= 7:
            raise ValueError("not now")

    HOOKS["alarm"] = ring
    await do(lab(), fill)
    while local.alarm(lab()) is not None:
        await local.run_alarm(lab())
    await local.evict(lab())
    shown = await operator.show(ID)
    assert (shown["alarm"], shown["alarm_error"]) == (None, "ValueError: not now")
    assert await operator.rerun(ID)
    await local.run_alarm(lab())
    assert ran == [0, 1, 2, 3, 4, 5, 6, 0]
    assert not await operator.rerun(ID)
    assert (await AuditEntry.objects.afirst()).what == "object.rerun"  # type: ignore[union-attr]


async def test_C3_deletion_is_no_method(local: LocalObjects) -> None:
    with pytest.raises(NotCallableError):
        await lab()._do_delete()  # type: ignore[attr-defined]
