"""Events that follow one another without a wait share a commit, and none of them can tell."""

import asyncio
import inspect
from typing import Any

import pytest

from durable import DurableObject
from durable.core import codec
from durable.core.envelope import CallId
from durable.errors import LostWriteError, ObjectError, ObjectResetError, RemoteError, SqlError, StorageError
from durable.runtime.signatures import may_wait
from durable.storage.sql import check_text
from durable.storage.store import Store
from durable.testing import LocalObjects

COUNT = 10
ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) INSERT INTO numbers SELECT x FROM n"
)


class RefusedError(ObjectError):
    """What the object says no with."""


class Prompt(DurableObject):
    """Its methods never wait, but for those that say so."""

    web_socket_error = "that failed"
    started = 0

    async def start(self) -> None:
        type(self).started += 1

    async def add(self, key: str = "value") -> int:
        value: int = self.ctx.storage.get(key, 0) + 1
        self.ctx.storage.put(key, value)
        return value

    async def read(self, key: str = "value") -> int:
        return int(self.ctx.storage.get(key, 0))

    async def read_if_possible(self, key: str) -> int | None:
        try:
            return int(self.ctx.storage.get(key, 0))
        except StorageError:
            return None

    async def add_and_refuse(self) -> None:
        self.ctx.storage.put("value", -1)
        raise RefusedError("no")

    async def refuse(self) -> None:
        raise RefusedError("no")

    async def add_in_parts(self) -> int:
        value = self.ctx.storage.get("value") + 1
        self.ctx.storage.put("value", value)
        with pytest.raises(ValueError), self.ctx.storage.transaction():
            self.ctx.storage.put("value", -1)
            raise ValueError
        return int(value)

    async def give_up(self) -> None:
        self.ctx.storage.put("value", -1)
        self.ctx.abort("enough")

    async def fill(self) -> None:
        for number in range(10):
            self.ctx.storage.put(f"k{number}", b"x" * 100_000)

    async def count_for_ever(self) -> None:
        self.ctx.storage.sql.exec(ENDLESS)

    async def wake_at(self, at: int) -> None:
        self.ctx.storage.set_alarm(at)

    async def wait(self) -> int:
        value = await self.add()
        GATES.append(asyncio.Event())
        await GATES[-1].wait()
        return value

    async def alarm(self, info: Any) -> None:
        self.ctx.storage.put("rung", 1)

    async def web_socket_connect(self, ws: Any) -> None:
        self.ctx.accept_web_socket(ws)

    async def web_socket_message(self, ws: Any, message: Any) -> None:
        self.ctx.storage.put(message, 1)
        if message == "fill":
            for number in range(10):
                self.ctx.storage.put(f"k{number}", b"x" * 100_000)
        ws.send(f"stored {message}")


GATES: list[asyncio.Event] = []


def prompt(name: str = "prompt") -> Prompt:
    """A stub."""
    return Prompt.namespace.get_by_name(name)


def store_of(local: LocalObjects) -> Store:
    """The storage of the object, which is active."""
    store: Store = local.host.activations[str(prompt().id)].gate.store  # type: ignore[attr-defined]
    return store


async def together(*calls: Any) -> list[Any]:
    """Make calls in one turn of the loop; what they return or raise."""
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_G7_events_that_do_not_wait_share_a_commit(local: LocalObjects) -> None:
    await prompt().add()
    before, syncs = store_of(local).transactions.seq, local.commits.syncs
    assert await together(*(prompt().add() for _ in range(COUNT))) == list(range(2, COUNT + 2))
    assert store_of(local).transactions.seq == before + 1
    assert local.commits.syncs == syncs + 1


async def test_G7_one_that_fails_takes_nothing_back_but_its_own(local: LocalObjects) -> None:
    await prompt().add()
    before = store_of(local).transactions.seq
    seen = await together(
        prompt().add(), prompt().refuse(), prompt().add(), prompt().add_in_parts(), prompt().read()
    )
    assert [seen[0], *seen[2:]] == [2, 3, 4, 4]
    assert isinstance(seen[1], RemoteError | RefusedError)
    assert store_of(local).transactions.seq == before + 1
    seen = await together(prompt().add(), prompt().add_and_refuse(), prompt().add())
    assert (seen[0], seen[2]) == (5, 6)
    assert isinstance(seen[1], RemoteError | RefusedError)
    await local.evict(prompt())
    assert await prompt().read() == 6


async def test_G7_one_that_aborts_takes_nothing_back_but_its_own(local: LocalObjects) -> None:
    await prompt().add()
    seen = await together(prompt().add(), prompt().give_up(), prompt().add(), prompt().read())
    assert isinstance(seen[1], ObjectResetError)
    assert [seen[0], *seen[2:]] == [2, 3, 3]
    await local.evict(prompt())
    assert await prompt().read() == 3


class Strict(DurableObject):
    """Has foreign keys that hold at once, and others that hold at the end of an event."""

    migrations = (
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (parent REFERENCES parent, later REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
    )

    async def add(self, key: str = "value") -> int:
        value: int = self.ctx.storage.get(key, 0) + 1
        self.ctx.storage.put(key, value)
        return value

    async def adopt(self, parent: int) -> None:
        self.ctx.storage.sql.exec("INSERT INTO child (parent) VALUES (?)", parent)

    async def promise(self, parent: int, *, keep: bool) -> None:
        self.ctx.storage.sql.exec("INSERT INTO child (later) VALUES (?)", parent)
        if keep:
            self.ctx.storage.sql.exec("INSERT INTO parent VALUES (?)", parent)

    async def break_and_flush(self) -> None:
        self.ctx.storage.sql.exec("INSERT INTO child (later) VALUES (77)")
        await self.ctx.flush()

    async def defer(self, how: str) -> None:
        if how == "read":
            self.ctx.storage.sql.exec("PRAGMA defer_foreign_keys=ON")
        elif how == "wipe":
            self.ctx.storage.delete_all()
        else:
            self.ctx.storage.sql.exec("PRAGMA defer_foreign_keys=ON")
            self.ctx.storage.sql.exec("INSERT INTO child (parent) VALUES (5)")
        if how == "fail":
            raise RefusedError("no")
        if how == "write":
            self.ctx.storage.sql.exec("INSERT INTO parent VALUES (5)")


def strict() -> Strict:
    """A stub."""
    return Strict.namespace.get_by_name("strict")


@pytest.mark.parametrize("first", [False, True])
async def test_S10_one_that_breaks_a_deferred_key_fails_alone(local: LocalObjects, first: bool) -> None:
    await strict().add()
    before = [] if first else [strict().add("before")]
    seen = await together(
        *before, strict().promise(9, keep=False), strict().promise(8, keep=True), strict().add()
    )
    assert seen[len(before) + 1 :] == [None, 2]
    assert seen[:-3] == [1] * len(before)
    assert isinstance(seen[-3], SqlError)
    assert "FOREIGN KEY" in str(seen[-3])
    assert seen[-3].sqlite_code == 787
    assert local.troubles.messages == {}
    await local.evict(strict())
    assert await strict().add() == 3


async def test_S10_one_that_breaks_a_deferred_key_and_flushes_fails_alone(local: LocalObjects) -> None:
    await strict().add()
    seen = await together(strict().add(), strict().break_and_flush(), strict().add())
    assert (seen[0], seen[2]) == (2, 3)
    assert isinstance(seen[1], SqlError)


@pytest.mark.parametrize("how", ["read", "write", "fail", "wipe"])
@pytest.mark.parametrize("is_new", [False, True])
async def test_S10_keys_hold_at_once_though_the_event_before_deferred_them(
    local: LocalObjects, how: str, is_new: bool
) -> None:
    if not is_new:
        await strict().add()
    seen = await together(strict().add(), strict().defer(how), strict().adopt(9), strict().add())
    assert isinstance(seen[2], SqlError)
    seen = await together(strict().defer(how), strict().adopt(9))
    assert isinstance(seen[1], SqlError)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR ROLLBACK INTO parent VALUES (1)",
        "INSERT OR /* at once */ ROLLBACK INTO parent VALUES (1)",
        "CREATE TABLE t (x UNIQUE ON CONFLICT\n--\nROLLBACK)",
        "CREATE TRIGGER t AFTER INSERT ON parent BEGIN SELECT RAISE( ROLLBACK, 'no'); END",
    ],
)
def test_S6_no_statement_takes_back_what_others_have_written(statement: str) -> None:
    with pytest.raises(SqlError, match="ABORT"):
        check_text(statement.lower())


def test_S6_the_word_itself_is_free() -> None:
    check_text("insert into log values ('or rollback') -- or rollback")
    check_text('select "raise(rollback)", rollback from t')


async def test_G4_nothing_that_shares_a_commit_leaves_before_it_is_durable(local: LocalObjects) -> None:
    await prompt().add()
    with local.commits.held():
        calls = [asyncio.create_task(call) for call in (prompt().add(), prompt().refuse(), prompt().read())]
        await local.commits.waiting()
        await local.settle()
        assert not any(call.done() for call in calls)
    seen = await asyncio.gather(*calls, return_exceptions=True)
    assert (seen[0], seen[2]) == (2, 2)


async def test_G5_an_event_that_waits_holds_up_none_before_it(local: LocalObjects) -> None:
    await prompt().add()
    waiting = [asyncio.create_task(call) for call in (prompt().add(), prompt().wait(), prompt().add())]
    assert await waiting[0] == 2
    assert not waiting[1].done()
    assert not waiting[2].done()
    GATES.pop().set()
    assert await asyncio.gather(*waiting) == [2, 3, 4]


async def test_G4_when_a_shared_commit_is_not_durable_all_its_events_fail(local: LocalObjects) -> None:
    await prompt().add()
    local.commits.fail()
    seen = await together(*(prompt().add() for _ in range(3)))
    assert all(isinstance(error, LostWriteError) for error in seen)


async def test_O4_when_a_shared_commit_is_fenced_all_its_events_run_at_the_next_owner(
    local: LocalObjects,
) -> None:
    await prompt().add()
    store_of(local).database.run("UPDATE _do_meta SET epoch = epoch + 1, incarnation = 'another'")
    assert await together(*(prompt().add() for _ in range(3)), prompt().read()) == [2, 3, 4, 4]
    await local.evict(prompt())
    assert await prompt().read() == 4


@pytest.mark.parametrize("ending", ["full", "interrupted"])
async def test_S9_where_sqlite_ends_the_transaction_all_its_events_fail_and_nothing_is_half_written(
    local: LocalObjects, ending: str
) -> None:
    await prompt().add()
    store = store_of(local)
    store.sql.exec("CREATE TABLE numbers (x)")
    store.commit()
    started = Prompt.started
    if ending == "full":
        store.database.row("PRAGMA max_page_count=40")
        last = prompt().fill()
    else:
        local.clock.step = 0.01
        last = prompt().count_for_ever()
    seen = await together(prompt().add(), prompt().read(), prompt().add(), last, prompt().add())
    local.clock.step = 0.0
    assert [error.delivered for error in seen[:3]] == ["no"] * 3
    assert all(type(error) is StorageError and "shared with others" in str(error) for error in seen[:3])
    assert isinstance(seen[3], StorageError)
    assert "shared with others" not in str(seen[3])
    assert seen[4] == 2
    assert Prompt.started == started + 1
    before = store.transactions.seq
    assert await together(prompt().add(), prompt().add()) == [3, 4]
    assert store.transactions.seq == before + 2  # from now on each for itself
    await local.evict(prompt())
    assert await prompt().read() == 4
    assert await prompt().read("k0") == 0


async def test_S9_no_event_outlives_a_transaction_that_ended_while_another_only_read(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prompt().add()
    store, read = store_of(local), store_of(local).kv.get
    fails = [True]

    def break_off(key: str, default: Any = None) -> Any:
        if key == "broken" and fails.pop():  # as SQLite does when the disk fails under a reading statement
            store.database.run("ROLLBACK")
            raise StorageError("disk I/O error", delivered="no")
        return read(key, default)

    monkeypatch.setattr(store.kv, "get", break_off)
    seen = await together(prompt().add(), prompt().read_if_possible("broken"), prompt().add(), prompt().add())
    assert all(isinstance(error, StorageError) for error in seen[:3])
    assert seen[3] == await prompt().read() == 2


async def test_S9_frames_of_a_transaction_that_failed_are_answered_and_handled_when_they_are_sent_again(
    local: LocalObjects,
) -> None:
    client = await local.connect(prompt())
    await client.send("first")
    assert await client.receive() == "stored first"
    store_of(local).database.row("PRAGMA max_page_count=40")
    await asyncio.gather(*(client.send(text) for text in ("a", "b", "fill", "c")))
    assert [await client.receive() for _ in range(4)] == ["that failed"] * 3 + ["stored c"]
    await client.send("a")
    assert await client.receive() == "stored a"
    assert await prompt().read("b") == 0


async def test_A1_an_alarm_that_is_set_among_others_rings(local: LocalObjects) -> None:
    await prompt().add()
    seen = await together(prompt().add(), prompt().wake_at(local.clock.now() + 1000), prompt().add())
    assert seen == [2, None, 3]
    await local.advance(2)
    assert await prompt().read("rung") == 1


async def test_O5_calls_that_share_a_commit_have_their_effect_once_each(local: LocalObjects) -> None:
    await prompt().add()
    router = local._gateways[-1].router

    async def call(slot: int) -> Any:
        arguments, call_id = codec.encode_arguments((), {}), CallId("me", slot, 1)
        return codec.decode(await router.call(prompt().id, "add", arguments, call_id=call_id, repeat=True))  # type: ignore[attr-defined]

    first = await asyncio.gather(*(call(slot) for slot in (1, 2, 2, 3)))
    assert first == [2, 3, 3, 4]
    assert await asyncio.gather(*(call(slot) for slot in (1, 2, 3))) == [2, 3, 4]


def test_G7_what_may_wait_is_seen_in_its_code() -> None:
    async def plain(x: int) -> list[int]:
        with pytest.raises(ValueError):
            raise ValueError
        return [y for y in range(x) if y]

    async def awaits() -> None:
        await plain(1)

    async def enters(lock: asyncio.Lock) -> None:
        async with lock:
            pass

    async def iterates(items: Any) -> list[Any]:
        return [item async for item in items]

    async def loops(items: Any) -> None:
        async for _ in items:
            pass

    async def makes_others() -> asyncio.Task[None]:
        async def inner() -> None:
            await plain(1)

        return asyncio.get_running_loop().create_task(inner())

    def returns_a_coroutine() -> Any:
        return awaits()

    getattr(inspect, "markcoroutinefunction", may_wait)(returns_a_coroutine)  # since Python 3.12
    assert not any(may_wait(function) for function in (plain, makes_others))
    assert all(may_wait(function) for function in (awaits, enters, iterates, loops, returns_a_coroutine))
