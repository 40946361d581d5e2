"""Old and new code side by side: who gets an object, and who may not."""

from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from durable.client import ClusterClient
from durable.core.envelope import LINK_VERSION
from durable.core.placement import choose, place
from durable.errors import StorageError, UnavailableError
from durable.identity import ObjectId
from durable.inspector.moves import move
from durable.storage.store import object_path
from durable.testing import LocalObjects
from durable.testing.worker import LocalWorker

from .lab import Lab, do, get, lab, put

IDS = [f"{n:064x}" for n in range(400)]


class NewLab(Lab, abstract=True):
    """What the next version of the code has for a Lab."""

    key = "Lab"
    migrations = ("CREATE TABLE notes (text)",)


class Newcomer(Lab, abstract=True):
    """A class that only the new code has."""


@dataclass(frozen=True)
class Seen:
    """A worker as placement sees it."""

    slot: str
    started: int = 0
    classes: dict[str, int] = field(default_factory=lambda: {"Lab": 0})


async def side_by_side(local: LocalObjects, *classes: type[Lab]) -> tuple[LocalWorker, LocalWorker]:
    """An old worker, and one of new code with these classes."""
    old, new = local.worker, await local.add_worker(*classes)
    return old, new


def object_id(stub: Lab) -> ObjectId:
    """The id behind a stub."""
    return cast(Any, stub).id


def owner(local: LocalObjects, stub: Lab) -> str:
    """The worker that owns the object."""
    return local.cluster.owners[str(object_id(stub))][0]


def test_a_workers_successor_in_its_slot_gets_its_objects_and_no_others() -> None:
    before = [Seen(f"worker {n}", 1) for n in range(4)]
    successor = Seen("worker 2", 2)
    moved = {text for text in IDS if choose(text, "Lab", [*before, successor]) is successor}
    assert moved == {text for text in IDS if place(text, [one.slot for one in before]) == "worker 2"}
    assert moved


def test_slots_of_long_names_are_told_apart() -> None:
    slots = [f"{'host' * 20}/worker {n}" for n in range(4)]
    assert {place(text, slots) for text in IDS} == set(slots)


def test_S11_placement_prefers_the_code_that_knows_most_migrations() -> None:
    old, new = Seen("worker 1", 1, {"Lab": 1, "Other": 1}), Seen("worker 2", 2, {"Lab": 2, "Other": 1})
    assert all(choose(text, "Lab", [old, new]) is new for text in IDS)
    assert {choose(text, "Other", [old, new]).slot for text in IDS} == {"worker 1", "worker 2"}


def test_placement_knows_who_has_code_for_a_class() -> None:
    old, new = Seen("worker 1", 1, {"Lab": 0}), Seen("worker 2", 2, {"Newcomer": 0})
    assert all(choose(text, "Newcomer", [old, new]) is new for text in IDS)
    assert all(choose(text, "Lab", [old, new]) is old for text in IDS)
    assert choose(IDS[0], "Nobody", [old, new]) is not None
    assert choose(IDS[0], "Lab", []) is None


async def test_a_class_that_only_new_code_has_is_not_placed_on_old_workers(local: LocalObjects) -> None:
    _, new = await side_by_side(local, Newcomer)
    stubs = [lab(f"new {n}", kind=Newcomer) for n in range(10)]
    assert [await stub.increment() for stub in stubs] == [1] * 10
    assert {owner(local, stub) for stub in stubs} == {new.id}


async def test_S11_what_is_opened_while_old_and_new_run_is_migrated_once_by_the_new(
    local: LocalObjects,
) -> None:
    _, new = await side_by_side(local, NewLab)
    stubs = [lab(f"fresh {n}") for n in range(10)]
    assert [await stub.increment() for stub in stubs] == [1] * 10
    assert {owner(local, stub) for stub in stubs} == {new.id}


async def test_S11_an_old_worker_passes_on_what_new_code_has_migrated(local: LocalObjects) -> None:
    await lab().increment()
    old, new = await side_by_side(local, NewLab)
    await local.drain(old)
    assert await lab().increment() == 2
    await new.host.evict(str(object_id(lab())))
    await local.settle()
    # A gateway knows the old worker only, and Redis has lost who owned what.
    session = local.cluster.workers.pop(new.id)
    back = await local.add_worker()
    await local.add_gateway()
    local.cluster.workers[new.id] = session
    local.cluster.owners.clear()
    assert await lab().increment() == 3
    assert owner(local, lab()) == new.id
    assert str(object_id(lab())) not in back.host.activations


async def test_S11_without_newer_code_the_error_is_clear_and_the_file_as_it_was(local: LocalObjects) -> None:
    old, new = await side_by_side(local, NewLab)
    await do(lab(), put, "kept", "yes")
    local.cluster.workers.pop(old.id)
    await new.die()
    await local.add_worker()
    message = "Lab has 0 migrations, but this object has already seen 1"
    with pytest.raises(StorageError, match=message):
        await lab().value()
    file = object_path(local.conf.data_dir, object_id(lab()))
    left = file.read_bytes()
    with pytest.raises(StorageError, match=message):
        await lab().value()
    assert file.read_bytes() == left
    await local.add_worker(NewLab)
    assert await do(lab(), get, "kept") == "yes"


async def test_W3_a_socket_stays_open_when_its_object_moves_to_code_that_migrates_it(
    local: LocalObjects,
) -> None:
    ws = await local.connect(lab())
    assert ws.is_open
    await local.redeploy(NewLab)
    await ws.send("still here?")
    assert ws.is_open
    notes = await do(lab(), lambda obj: obj.ctx.storage.sql.exec("SELECT count(*) FROM notes").one())
    assert notes == (0,)


async def test_a_worker_that_speaks_another_link_is_a_clear_error_at_once(local: LocalObjects) -> None:
    only = local.cluster.workers[local.worker.id]
    local.cluster.workers[only.worker] = msgspec.structs.replace(only, link=LINK_VERSION + 1)
    await local.add_gateway()
    with pytest.raises(UnavailableError, match=f"speaks version {LINK_VERSION + 1} of the link") as caught:
        await lab().value()
    assert caught.value.delivered == "no"


async def test_a_worker_of_the_same_link_is_preferred(local: LocalObjects) -> None:
    only = local.cluster.workers[local.worker.id]
    local.cluster.workers[only.worker] = msgspec.structs.replace(only, link=LINK_VERSION + 1)
    other = await local.add_worker()
    stubs = [lab(f"either {n}") for n in range(10)]
    assert [await stub.increment() for stub in stubs] == [1] * 10
    assert {owner(local, stub) for stub in stubs} == {other.id}


async def test_an_object_is_not_transferred_to_a_worker_without_its_class(local: LocalObjects) -> None:
    other = msgspec.structs.replace(local.cluster.workers[local.worker.id], worker="other", classes={})
    nobody = cast(ClusterClient, None)  # it is not asked anything
    with pytest.raises(UnavailableError, match="worker other has no code for Lab"):
        await move(nobody, object_id(lab()), other, active=False)
