"""Looking at objects wakes nothing and waits for nothing, and all of it is recorded."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from durable.errors import NotCallableError, RemoteError, UnknownClassError
from durable.identity import id_from_name
from durable.inspector import Inspector, find_object
from durable.models import AuditEntry
from durable.storage.store import object_path
from durable.testing import LocalObjects
from tests.durable.lab import Lab, do, lab, put

pytestmark = pytest.mark.django_db(transaction=True)

ID = id_from_name("Lab", "lab")


def files(local: LocalObjects) -> dict[Path, tuple[int, int]]:
    """Every file of the volume, with what a write would change."""
    found = {}
    for folder, _, entries in os.walk(local.conf.data_dir):
        for entry in entries:
            path = Path(folder) / entry
            found[path] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


async def audit() -> list[tuple[str, str, str]]:
    return [(e.who, e.what, e.result) async for e in AuditEntry.objects.order_by("id")]


async def test_an_active_object(local: LocalObjects, operator: Inspector) -> None:
    await lab().increment()
    shown = await operator.show(ID)
    assert (shown["class"], shown["name"], shown["id"]) == ("Lab", "lab", str(ID))
    assert shown["state"] == "active"
    assert shown["owner"]["pid"] == os.getpid()
    assert set(shown["owner"]) == {"worker", "pid", "host"}
    assert shown["epoch"] == 1
    assert shown["storage_bytes"] > 0
    assert (shown["sockets"], shown["alarm"], shown["queue_depth"], shown["problem"]) == (0, None, 0, None)


@pytest.mark.parametrize("owner", [None, "the one before", "nobody's id"])
async def test_N1_an_active_object_is_found_though_redis_names_another_owner_or_none(
    local: LocalObjects, operator: Inspector, owner: str | None
) -> None:
    before = local.worker.id
    await lab().increment()
    await local.transfer(lab())
    await operator._client.directory.refresh()
    local.cluster.owners.clear()
    if owner is not None:
        local.cluster.owners[str(ID)] = (before if owner == "the one before" else owner, 1)
    shown = await operator.show(ID)
    assert shown["state"] == "active"
    assert shown["owner"]["worker"] != before
    assert await operator.evict(ID)
    assert (await operator.show(ID))["state"] == "asleep"


async def test_N1_looking_does_not_wake_and_changes_no_file(local: LocalObjects, operator: Inspector) -> None:
    async def arm(obj: Lab) -> None:
        put(obj, "colour", "blue")
        obj.ctx.storage.set_alarm(obj.ctx.now() + 60_000)

    await do(lab(), arm)
    await local.connect(lab())
    await local.evict(lab())
    before = files(local)
    shown = await operator.show(ID)
    tables = await operator.tables(ID)
    assert (shown["state"], shown["owner"], shown["name"]) == ("asleep", None, "lab")
    assert shown["alarm"] == local.clock.now() + 60_000
    assert (shown["sockets"], shown["epoch"]) == (1, 1)
    assert ["colour", "'blue'"] in tables[0]["rows"]
    assert files(local) == before
    assert not local.is_active(lab())


async def test_N1_looking_does_not_wait_for_the_queue(local: LocalObjects, operator: Inspector) -> None:
    go, entered = asyncio.Event(), asyncio.Event()

    async def wait(obj: Lab) -> None:
        put(obj, "half", "done")
        entered.set()
        await go.wait()

    calls = [asyncio.create_task(do(lab(), wait))]
    await entered.wait()
    calls += [asyncio.create_task(lab().increment()) for _ in range(3)]
    async with asyncio.timeout(5):
        while (shown := await operator.show(ID))["queue_depth"] < 3:
            pass
        assert "run" in shown["running"]
        await operator.tables(ID)
    go.set()
    await asyncio.gather(*calls)


async def test_I6_looking_at_what_does_not_exist_creates_nothing(
    local: LocalObjects, operator: Inspector
) -> None:
    await lab("other").increment()
    before = files(local)
    shown = await operator.show(ID)
    assert (shown["state"], shown["owner"], shown["epoch"], shown["created_at"]) == (
        "absent",
        None,
        None,
        None,
    )
    assert await operator.tables(ID) == []
    assert files(local) == before
    assert not local.is_active(lab())


async def test_I5_an_id_is_shown_with_the_name_that_its_file_knows(
    local: LocalObjects, operator: Inspector
) -> None:
    await lab("some/na me").increment()
    target = find_object("Lab", str(id_from_name("Lab", "some/na me")))
    assert target.name is None
    assert (await operator.show(target))["name"] == "some/na me"
    await local.evict(lab("some/na me"))
    assert (await operator.show(target))["name"] == "some/na me"


async def test_a_damaged_file_is_said(local: LocalObjects, operator: Inspector) -> None:
    await lab().increment()
    await local.evict(lab())
    path = object_path(local.conf.data_dir, ID)
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    shown = await operator.show(ID)
    assert shown["state"] == "asleep"
    assert "damaged" in shown["problem"]


async def test_tables_shorten_long_values(local: LocalObjects, operator: Inspector) -> None:
    async def fill(obj: Lab) -> None:
        sql = obj.ctx.storage.sql
        sql.exec('CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY, text TEXT, data BLOB)')
        sql.exec('INSERT INTO "odd ""name" VALUES (1, ?, ?)', "x" * 1_000_000, b"\x00" * 500_000)
        sql.exec('INSERT INTO "odd ""name" VALUES (2, NULL, ?)', b"\xff")

    await do(lab(), fill)
    awake = await operator.tables(ID)
    await local.evict(lab())
    assert await operator.tables(ID) == awake
    table = next(table for table in awake if table["name"] == 'odd "name')
    assert table["columns"] == ["id", "text", "data"]
    assert table["rows"][0][1] == "x" * 199 + "…"
    assert table["rows"][0][2].endswith("… 500000 bytes")
    assert table["rows"][1] == [2, None, "x'ff'"]
    assert not table["more"]


async def test_evict_and_abort_say_whether_there_was_anything_to_do(
    local: LocalObjects, operator: Inspector
) -> None:
    await lab().increment()
    assert await operator.abort(ID)
    assert await operator.evict(ID)
    assert not local.is_active(lab())
    assert not await operator.evict(ID)
    assert not await operator.abort(ID)
    assert await lab().value() == 1


async def test_abort_undoes_the_running_event(local: LocalObjects, operator: Inspector) -> None:
    entered = asyncio.Event()

    async def wait(obj: Lab) -> None:
        put(obj, "value", 41)
        entered.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(do(lab(), wait))
    await entered.wait()
    assert await operator.abort(ID)
    with pytest.raises(Exception, match="aborted by an operator"):
        await call
    assert await lab().value() == 0


async def test_calls_go_the_way_of_stubs(local: LocalObjects, operator: Inspector) -> None:
    assert await operator.call(ID, "increment", [], {}) == 1
    for name in ("nope", "_private", "start", "ctx", "__init__", "id"):
        with pytest.raises(NotCallableError, match="callable: "):
            await operator.call(ID, name, [], {})
    assert await lab().value() == 1


async def test_N3_every_look_at_contents_and_every_action_is_recorded(
    local: LocalObjects, operator: Inspector
) -> None:
    await operator.call(ID, "increment", [], {})
    with pytest.raises(NotCallableError):
        await operator.call(ID, "nope", ["secret" * 1000], {})

    def fail(_: Lab) -> None:
        raise ValueError("no")

    with pytest.raises(RemoteError):
        await do(lab(), fail)
    with pytest.raises(RemoteError):
        await operator.call(ID, "run", [-1, []], {})
    await operator.tables(ID)
    await operator.evict(ID)
    assert await audit() == [
        ("user:op", "object.call", "ok"),
        ("user:op", "object.call", "refused"),
        ("user:op", "object.call", "failed"),
        ("user:op", "object.look", "ok"),
        ("user:op", "object.evict", "ok"),
    ]
    refused = await AuditEntry.objects.aget(result="refused")
    assert (refused.class_key, refused.object_id, refused.name) == ("Lab", str(ID), "lab")
    assert refused.details["method"] == "nope"
    assert len(refused.details["arguments"]) == 500
    assert "NotCallableError" in refused.details["error"]


async def test_workers_are_listed(local: LocalObjects, operator: Inspector) -> None:
    await lab().increment()
    workers = await operator.workers()
    assert [set(worker) for worker in workers] == [{"worker", "pid", "host", "state", "objects", "code"}]


def test_an_unknown_class_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownClassError, match=r"no object class 'Nope'; there are .*Lab"):
        find_object("Nope", "x")


def test_a_name_of_64_hex_digits_that_are_no_id_is_a_name() -> None:
    name: Any = "ab" * 32
    assert find_object("Lab", name) == id_from_name("Lab", name)
