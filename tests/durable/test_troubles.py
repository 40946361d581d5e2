"""What is wrong with objects is told to the operator, and taken back when it is over."""

from typing import Any

import apsw
import pytest

from durable import ObjectError, RemoteError
from durable.errors import DamagedFileError, LostWriteError, SetAsideError, SqlError
from durable.runtime import host
from durable.runtime.steps import Steps
from durable.storage.store import object_path
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, Lab, do, get, lab, put
from tests.durable.test_overload import Graveyard, block


def troubles(local: LocalObjects, stub: Lab) -> dict[str, str]:
    """Message by kind."""
    found = local.troubles.messages.items()
    return {kind.value: text for (object_id, kind), text in found if object_id == str(stub.id)}  # type: ignore[attr-defined]


async def test_G3_the_operator_sees_that_an_object_cannot_start_until_it_can(local: LocalObjects) -> None:
    def start(obj: Lab) -> None:
        if broken:
            raise ValueError("not yet")

    HOOKS["start"], broken = start, True
    with pytest.raises(RemoteError):
        await lab().value()
    assert troubles(local, lab()) == {"start": "ValueError: not yet"}
    broken = False
    await lab().value()
    assert troubles(local, lab()) == {}


async def test_S9_the_operator_sees_a_failed_sync_until_the_object_was_closed_in_good_order(
    local: LocalObjects,
) -> None:
    await lab().increment()
    local.commits.fail()
    with pytest.raises(LostWriteError):
        await lab().increment()
    assert "refused to make a commit durable" in troubles(local, lab())["disk"]
    await lab().increment()
    await local.evict(lab())
    assert troubles(local, lab()) == {}


async def test_S9_a_damaged_file_is_told_to_callers_and_seen_by_the_operator(local: LocalObjects) -> None:
    await lab().increment()
    await lab("other").increment()
    await local.evict(lab())
    path = object_path(local.conf.data_dir, lab().id)  # type: ignore[attr-defined]
    path.write_bytes(b"garbage!" * 1000)
    with pytest.raises(DamagedFileError, match="damaged") as caught:
        await lab().value()
    assert not caught.value.retryable
    assert "damaged" in troubles(local, lab())["damaged"]
    assert await lab("other").increment() == 2


async def test_S9_damage_that_is_met_in_the_middle_is_told_in_the_same_way(local: LocalObjects) -> None:
    def fill(obj: Lab) -> None:
        obj.ctx.storage.sql.exec("CREATE TABLE t (x TEXT)")
        for n in range(200):
            obj.ctx.storage.sql.exec("INSERT INTO t VALUES (?)", f"{n}" * 50)

    def read(obj: Lab) -> Any:
        return obj.ctx.storage.sql.exec("SELECT count(*), max(x) FROM t").one()

    await do(lab(), fill)
    await local.evict(lab())
    path = object_path(local.conf.data_dir, lab().id)  # type: ignore[attr-defined]
    with apsw.Connection(str(path)) as look:
        root = look.execute("SELECT rootpage FROM sqlite_schema WHERE name = 't'").fetchall()[0][0]
    look.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        await do(lab(), read)
    assert set(troubles(local, lab())) == {"damaged"}
    await do(lab(), get, "other")  # what is whole can still be read
    assert set(troubles(local, lab())) == {"damaged"}


async def test_A4_the_operator_sees_an_abandoned_alarm_until_one_has_succeeded(local: LocalObjects) -> None:
    def ring(obj: Lab, info: Any) -> None:
        if broken:
            raise ObjectError("not now")

    HOOKS["alarm"], broken = ring, True
    await do(lab(), lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 10))
    for _ in range(7):
        assert troubles(local, lab()) == {}
        await local.run_alarm(lab())
    assert troubles(local, lab()) == {"alarm": "ObjectError: not now"}
    broken = False
    await do(lab(), lambda obj: obj.ctx.storage.set_alarm(obj.ctx.now() + 10))
    await local.run_alarm(lab())
    assert troubles(local, lab()) == {}


async def test_L4_the_operator_sees_an_event_that_was_set_aside(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, _go = await block(lab())
    monkeypatch.setattr(host, "Steps", lambda: Steps(Graveyard("call")))
    await local.crash()
    with pytest.raises(SetAsideError):
        await busy
    assert troubles(local, lab())["set aside"] == ("call run: set aside: 2 workers died in the middle of it")


async def test_the_class_s_own_failures_are_no_trouble(local: LocalObjects) -> None:
    def refuse(obj: Lab) -> None:
        put(obj, "key", "x" * 3_000_000)

    for step in (refuse, lambda obj: obj.ctx.storage.sql.exec("nonsense")):
        with pytest.raises(Exception, match=r"."):
            await do(lab(), step)
    assert troubles(local, lab()) == {}


async def test_S9_a_damaged_file_is_nobody_elses_trouble(local: LocalObjects) -> None:
    await lab("callee").increment()
    await local.evict(lab("callee"))
    object_path(local.conf.data_dir, lab("callee").id).write_bytes(b"garbage!" * 1000)  # type: ignore[attr-defined]
    with pytest.raises(DamagedFileError):
        await do(lab(), lambda obj: lab("callee").value())
    assert troubles(local, lab()) == {}
    assert "damaged" in troubles(local, lab("callee"))["damaged"]


class BadlyMigrated(Lab):
    """Its migration is no SQL."""

    migrations = ("CREAT TABLE note (text)",)


async def test_G3_a_migration_that_is_wrong_is_no_trouble_of_the_disk(local: LocalObjects) -> None:
    stub = lab("new", BadlyMigrated)
    with pytest.raises(SqlError, match="syntax error"):
        await stub.value()
    assert list(troubles(local, stub)) == ["start"]
