"""One owner at a time: claims, epochs, fences, takeovers and moves."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.core import codec
from durable.core.envelope import Call, CallId, Target
from durable.errors import FencedError, UnavailableError
from durable.identity import id_from_name
from durable.storage.database import Database
from durable.storage.durability import SyncPool
from durable.storage.failures import BusyFileError
from durable.storage.store import Claim, EpochTooOldError, object_path
from durable.testing import LocalObjects, local_objects
from durable.testing.worker import LocalWorker
from tests.durable.conftest import open_store
from tests.durable.lab import HOOKS, Lab, do, do_beside, get, lab, put


def epoch_of(local: LocalObjects, stub: Lab) -> int:
    return local.host.activations[str(stub.id)].epoch  # type: ignore[attr-defined]


async def test_O1_many_first_calls_through_several_gateways_make_one_instance(local: LocalObjects) -> None:
    starts = []
    HOOKS["start"] = lambda obj: starts.append(obj)
    await local.add_worker()
    calls = []
    for _ in range(4):
        calls += [asyncio.create_task(lab().increment()) for _ in range(50)]
        await asyncio.sleep(0)
        await local.add_gateway()
    assert sorted(await asyncio.gather(*calls)) == list(range(1, 201))
    assert len(starts) == 1


async def test_O2_a_call_is_executed_by_the_owner_wherever_it_arrives(local: LocalObjects) -> None:
    await asyncio.gather(*(lab(f"{n}").increment() for n in range(20)))
    other = await local.add_worker()  # placement now gives half of them to the other worker
    await local.add_gateway()  # which knows no owner yet
    assert await asyncio.gather(*(lab(f"{n}").increment() for n in range(20))) == [2] * 20
    assert len(other.host.activations) == 0


async def test_O3_the_epoch_grows_with_every_new_holder(local: LocalObjects) -> None:
    epochs = []
    for _ in range(4):
        await lab().increment()
        epochs.append(epoch_of(local, lab()))
        await local.crash()
    assert epochs == sorted(set(epochs))


async def test_O3_also_when_Redis_lost_everything(local: LocalObjects) -> None:
    epochs = []
    for _ in range(3):
        await lab().increment()
        epochs.append(epoch_of(local, lab()))
        await local.crash()
        local.cluster.owners.clear()
    assert epochs == sorted(set(epochs))
    assert await lab().value() == 3


async def test_O3_also_when_Redis_came_back_old(local: LocalObjects) -> None:
    await lab().increment()
    old = dict(local.cluster.owners)
    epochs = []
    for _ in range(3):
        await local.crash()
        await lab().increment()
        epochs.append(epoch_of(local, lab()))
    await local.crash()
    local.cluster.owners = old
    await lab().increment()
    assert epoch_of(local, lab()) > max(epochs)


def test_O3_an_epoch_that_the_file_has_seen_is_not_taken_again(tmp_path: Path, pool: SyncPool) -> None:
    open_and_write(tmp_path, pool, Claim(5, "one"))
    for claim in (Claim(5, "two"), Claim(4, "one"), Claim(1, "two")):
        with pytest.raises(EpochTooOldError) as caught:
            open_store(tmp_path, pool, claim)
        assert caught.value.found == 5
    open_store(tmp_path, pool, Claim(6, "two")).abandon()


def test_O3_the_same_holder_may_open_again_with_its_epoch(tmp_path: Path, pool: SyncPool) -> None:
    open_and_write(tmp_path, pool, Claim(5, "one"))
    store = open_store(tmp_path, pool, Claim(5, "one"))
    assert not store.took_over
    assert store.kv.get("key") == 1
    store.abandon()


def open_and_write(root: Path, pool: SyncPool, claim: Claim) -> None:
    store = open_store(root, pool, claim)
    store.kv.put_many({"key": 1})
    store.commit()
    store.close()


@pytest.mark.parametrize("taken", ["epoch = epoch + 1", "incarnation = 'another'"])
def test_O4_a_commit_by_who_is_not_in_the_file_any_more_changes_nothing(
    tmp_path: Path, pool: SyncPool, taken: str
) -> None:
    open_and_write(tmp_path, pool, Claim(1, "w"))
    store = open_store(tmp_path, pool, Claim(1, "w"))
    store.database.run(f"UPDATE _do_meta SET {taken}")  # what a new owner does, whatever let it
    store.kv.put_many({"key": 2})
    with pytest.raises(FencedError):
        store.commit()
    store.transactions.rollback()
    assert store.kv.get("key") == 1
    store.abandon()


async def test_O4_a_fenced_instance_dies_and_its_caller_is_served_by_the_next(local: LocalObjects) -> None:
    await lab().increment()
    await lab().increment()
    instances = []
    HOOKS["start"] = lambda obj: instances.append(1)
    database = local.host.activations[str(lab().id)].gate.store.database  # type: ignore[attr-defined]
    database.run("UPDATE _do_meta SET epoch = epoch + 1, incarnation = 'another'")
    assert await lab().increment() == 3
    assert instances == [1]


def test_O4_of_two_that_make_the_first_file_one_is_fenced(tmp_path: Path, pool: SyncPool) -> None:
    one, two = open_store(tmp_path, pool, Claim(1, "one")), open_store(tmp_path, pool, Claim(2, "two"))
    two.kv.put_many({"key": "two"})
    two.commit()
    one.kv.put_many({"key": "one"})
    with pytest.raises(FencedError):
        one.commit()
    one.abandon()
    assert two.kv.get("key") == "two"
    two.abandon()


HOLDER = """
import sys
from pathlib import Path
from durable.storage.durability import SyncPool
from durable.storage.store import Claim
from tests.durable.conftest import open_store
store = open_store(Path(sys.argv[1]), SyncPool(1, lambda *_: None), Claim(1, "first"))
store.kv.put_many({"key": "first"})
store.commit()
store.kv.put_many({"key": "never committed"})
print("holding", flush=True)
sys.stdin.read()
"""


def test_O4_another_process_cannot_open_a_held_file_and_finds_what_was_committed_when_its_holder_died(
    tmp_path: Path, pool: SyncPool
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(BusyFileError):
            open_store(tmp_path, pool, Claim(2, "second"))
    finally:
        holder.kill()
        holder.communicate()
    store = open_store(tmp_path, pool, Claim(2, "second"))
    assert store.took_over
    assert store.kv.get("key") == "first"
    store.abandon()


async def test_O4_nothing_is_released_when_the_lease_is_over(local: LocalObjects) -> None:
    stub, ws = lab(), await local.connect(lab())

    def lose_lease(obj: Lab) -> str:
        put(obj, "key", 1)
        obj.ctx.broadcast("never from here")
        old.lease.close()
        return "never from here"

    old = local.worker
    call = asyncio.create_task(do(stub, lose_lease))
    while old.lease.open_at(local.clock.elapsed()):
        await asyncio.sleep(0)
    store = old.host.activations[str(stub.id)].gate.store  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while store.log.durable < store.transactions.seq:
            await asyncio.sleep(0.001)
    await local.settle()  # it could be released now, but for the lease
    assert not call.done()
    assert ws.take() == []
    local.commits.pass_through()
    await local.crash()
    assert await call == "never from here"  # the record of its first run; it was committed
    assert await do(stub, get, "key") == 1


async def test_O4_an_object_that_was_about_to_be_opened_when_the_lease_ended_is_let_go(
    local: LocalObjects,
) -> None:
    await lab().increment()
    await local.evict(lab())
    assert local.host.wake_for_alarm(lab().id)  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await local.host.drop_all()
    assert await lab().increment() == 2


async def test_O5_the_next_call_finds_every_acknowledged_write(local: LocalObjects) -> None:
    acknowledged = 0
    for _ in range(5):
        acknowledged = max(await asyncio.gather(*(lab().increment() for _ in range(7))))
        await local.crash()
        assert await lab().value() == acknowledged


async def test_O6_a_drained_workers_objects_move_and_nothing_fails_or_runs_twice(local: LocalObjects) -> None:
    calls = [asyncio.create_task(lab(f"{n % 5}").increment()) for n in range(200)]
    await asyncio.sleep(0)
    await local.redeploy()
    calls += [asyncio.create_task(lab(f"{n % 5}").increment()) for n in range(100)]
    await asyncio.gather(*calls)
    assert [await lab(f"{n}").value() for n in range(5)] == [60] * 5


async def test_O6_a_running_event_finishes_and_new_ones_go_to_the_next_owner(local: LocalObjects) -> None:
    running, go, ran = asyncio.Event(), asyncio.Event(), []

    async def slow(obj: Lab) -> None:
        running.set()
        await go.wait()
        ran.append("slow")
        put(obj, "key", 1)

    slow_call = asyncio.create_task(do(lab(), slow))
    await running.wait()
    moving = asyncio.create_task(local.redeploy())
    waiting = asyncio.create_task(do(lab(), get, "key"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    go.set()
    await moving
    await slow_call
    assert await waiting == 1
    assert ran == ["slow"]


async def test_O6_a_concurrent_method_finishes_during_a_drain(local: LocalObjects) -> None:
    running, go, ran = asyncio.Event(), asyncio.Event(), []

    async def slow(obj: Lab) -> int:
        ran.append("begun")
        running.set()
        await go.wait()
        return await obj.ctx.run(lambda: put(obj, "key", 1) or 7)  # type: ignore[no-any-return,func-returns-value]

    slow_call = asyncio.create_task(do_beside(lab(), slow))
    await running.wait()
    old = local.host
    moving = asyncio.create_task(local.redeploy())
    while not old.draining:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(do(lab(), get, "key"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    go.set()
    await moving
    assert await slow_call == 7
    assert await waiting == 1
    assert ran == ["begun"]


async def test_O7_without_a_lease_calls_are_refused_and_it_resumes_by_itself(local: LocalObjects) -> None:
    await lab().increment()
    local.worker.lease.close()
    call = asyncio.create_task(lab("another").value())
    await asyncio.sleep(0.02)
    assert not call.done()
    local.worker.lease.renewed(local.clock.elapsed())
    assert await call == 0
    assert await lab().increment() == 2


STEPS = st.lists(
    st.sampled_from(["call", "call", "call", "evict", "crash", "crash unsynced", "redeploy"]), max_size=12
)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_O5_whatever_happens_each_call_takes_effect_once(steps: list[str]) -> None:
    async def replay(root: Path) -> None:
        async with local_objects(root) as local:
            calls = []
            for step in steps:
                if step == "crash unsynced":
                    local.commits.hold()
                    calls.append(asyncio.create_task(lab().increment()))
                    await local.commits.waiting()
                calls += [asyncio.create_task(lab().increment()) for _ in range(3)]
                await asyncio.sleep(0)
                if step == "evict":
                    await local.evict(lab())
                elif step == "redeploy":
                    await local.redeploy()
                elif step.startswith("crash"):
                    await local.crash()
                    local.commits.release()
            assert sorted(await asyncio.gather(*calls)) == list(range(1, len(calls) + 1))
            assert await lab().value() == len(calls)

    with TemporaryDirectory() as root:
        asyncio.run(replay(Path(root)))


class TestImpatient:
    @pytest.fixture
    def local_settings(self) -> dict[str, float]:
        return {"park_seconds": 0.05}

    async def test_O7_after_a_bounded_wait_the_caller_is_told(self, local: LocalObjects) -> None:
        local.worker.lease.close()
        with pytest.raises(UnavailableError) as caught:
            await lab().value()
        assert caught.value.retryable

    async def test_C6_a_slot_whose_call_got_no_answer_is_not_used_again(self, local: LocalObjects) -> None:
        begun = asyncio.Event()

        async def hang(obj: Lab) -> None:
            begun.set()
            await asyncio.Event().wait()

        call = asyncio.create_task(do(lab(), hang))
        await begun.wait()
        await local.worker.die()
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.delivered == "unknown"
        channel = local._gateways[-1].router.channel(lab().id)  # type: ignore[attr-defined]
        assert channel.take_slot() == 1


def test_O5_a_file_lies_under_its_class_and_the_first_digits_of_its_id(tmp_path: Path) -> None:
    object_id = id_from_name("Lab", "x")
    assert object_path(tmp_path, object_id) == tmp_path / "Lab" / str(object_id)[:2] / f"{object_id}.sqlite3"


async def test_O7_a_lease_lost_while_a_thread_copies_the_log_waits_for_the_thread(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, go, copied = threading.Event(), threading.Event(), []
    checkpoint = Database.checkpoint

    def slow_checkpoint(database: Database) -> None:
        copying.set()
        assert go.wait(10)
        checkpoint(database)
        copied.append(database)

    monkeypatch.setattr("durable.storage.store.CHECKPOINT_PAGES", 1)
    monkeypatch.setattr(Database, "checkpoint", slow_checkpoint)
    assert await lab().increment() == 1
    assert await lab().increment() == 2  # in a log
    await asyncio.to_thread(copying.wait, 10)
    dropping = asyncio.create_task(local.host.drop_all())
    await asyncio.sleep(0.01)
    assert not dropping.done()
    go.set()
    await dropping
    assert len(copied) == 1  # on an open file


async def test_O2_what_rests_here_is_opened_while_the_claim_is_on_its_way(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab().increment()
    await local.evict(lab())
    claim, asked, go = local.cluster.claim, [], asyncio.Event()

    async def slow_claim(object_id: Any, *args: Any) -> tuple[str, int]:
        asked.append(str(object_id))
        await go.wait()
        return await claim(object_id, *args)

    monkeypatch.setattr(local.cluster, "claim", slow_claim)
    assert await lab().increment() == 2
    assert asked == [str(lab().id)]  # type: ignore[attr-defined]
    sleeping = asyncio.create_task(local.evict(lab()))
    await local.settle()
    assert not sleeping.done()  # or the claim would come after the rest, and the ownership never lapse
    go.set()
    await sleeping


def claims_and_starts(local: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of Redis and what begins from now on, in order."""
    steps: list[str] = []
    claim = local.cluster.claim

    async def noted(*args: Any) -> tuple[str, int]:
        steps.append("claimed")
        return await claim(*args)

    monkeypatch.setattr(local.cluster, "claim", noted)
    HOOKS["start"] = lambda obj: steps.append("started")
    return steps


async def test_O2_what_has_never_written_is_claimed_before_it_wakes(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab().value()
    await local.evict(lab())
    steps = claims_and_starts(local, monkeypatch)
    await lab().value()
    assert steps == ["claimed", "started"]


async def rests_with_another_owner(local: LocalObjects) -> tuple[LocalWorker, LocalWorker]:
    """The worker at which the object has fallen asleep, and the one whose it is by Redis, which came back so."""
    await lab().increment()
    first = local.owner(lab())
    assert first is not None
    await local.evict(lab())
    second = await local.add_worker()
    text = str(lab().id)  # type: ignore[attr-defined]
    local.cluster.owners[text] = (second.id, local.cluster.owners[text][1] + 1)
    return first, second


async def test_O3_what_became_anothers_while_it_rested_is_not_served_here(local: LocalObjects) -> None:
    first, second = await rests_with_another_owner(local)
    assert await ask(second, "increment") == 2
    assert await ask(first, "increment") == second.id
    assert await lab().value() == 2
    assert local.owner(lab()) is second


async def test_O3_what_rested_here_is_given_away_when_the_claim_finds_another_owner(
    local: LocalObjects,
) -> None:
    first, second = await rests_with_another_owner(local)
    text = str(lab().id)  # type: ignore[attr-defined]
    assert await ask(first, "increment") == 2  # nobody has opened it since: the file says that it is ours
    leaving = first.host.activations.get(text)
    if leaving is not None:
        await leaving.gone
    assert await lab().increment() == 3
    assert local.owner(lab()) is second


@pytest.mark.parametrize("how", ["taken", "lease"])
async def test_O4_what_rests_here_is_claimed_first_when_it_may_have_been_taken(
    local: LocalObjects, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab().increment()
    await local.evict(lab())
    if how == "taken":
        local.host.taken(str(lab().id), 5)  # type: ignore[attr-defined]
    else:
        await local.host.drop_all()
    steps = claims_and_starts(local, monkeypatch)
    await lab().value()
    assert steps == ["claimed", "started"]


async def ask(worker: LocalWorker, method: str) -> Any:
    """Ask a worker for the object, whoever owns it: what it answers, or whom it names."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Told:
        def reply(self, value: bytes | None) -> None:
            answer.set_result(codec.decode(value or b""))

        def fail(self, error: BaseException) -> None:
            answer.set_exception(error)

        def not_owner(self, owner: str | None) -> None:
            answer.set_result(owner)

    object_id: Any = lab().id  # type: ignore[attr-defined]
    target = Target(object_id.class_key, str(object_id), object_id.name)
    arguments = codec.encode_arguments((), {})
    worker.host.dispatch(Call(0, target, method, arguments, CallId(uuid4().hex, 0, 1), []), "test", Told())
    return await answer
