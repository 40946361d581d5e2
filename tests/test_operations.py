"""`DeleteObjectClass` in a real migration: what it deletes, and when it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, migrations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.writer import MigrationWriter
from django.test import override_settings
from django.utils import timezone

from durable.identity import ObjectId, id_from_name
from durable.models import AuditEntry, BackupState, ObjectRecord, moment
from durable.operations import DeleteObjectClass, ObjectClassInUseError
from durable.storage.durability import SyncPool
from durable.storage.store import Claim, Store, object_path
from durable.testing import LocalObjects
from tests.running_service import RunningService, eventually, running_service

KEY = "Retired"


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Path]:
    """The folder of objects of a data directory without a service."""
    with override_settings(DURABLE={"data_dir": tmp_path}):
        yield tmp_path / "objects"


@pytest.fixture
def pool() -> Iterator[SyncPool]:
    pool = SyncPool(1, lambda done, error: done(error))
    yield pool
    pool.close()


def make(root: Path, pool: SyncPool, key: str, name: str, *, row: bool = True) -> tuple[ObjectId, Store]:
    """A stored object, still open."""
    object_id = id_from_name(key, name)
    store = Store(
        root,
        object_id,
        Claim(1, "w"),
        pool=pool,
        changed=lambda error: None,
        now=0,
        clock=lambda: 0.0,
        statement_timeout=1,
    )
    store.kv.put_many({"x": name})
    store.commit()
    if row:
        ObjectRecord.objects.create(
            class_key=key, object_id=str(object_id), name=name, created_at=moment(0), last_active_at=moment(0)
        )
    return object_id, store


def migrate(operation: DeleteObjectClass, *, back: bool = False) -> None:
    migration = migrations.Migration("9999_test", "durable")
    migration.operations = [operation]
    executor = MigrationExecutor(connection)
    state = executor.loader.project_state()
    if back:
        executor.unapply_migration(state, migration)
    else:
        executor.apply_migration(state, migration)


@pytest.mark.django_db(transaction=True)
def test_everything_of_the_class_goes_and_nothing_else(objects: Path, pool: SyncPool) -> None:
    gone = [make(objects, pool, KEY, name) for name in ("a", "b")]
    gone.append(make(objects, pool, KEY, "not in the catalog yet", row=False))
    kept, store = make(objects, pool, "Retired2", "a")
    for other in (*(store for _, store in gone), store):
        other.close()
    migrate(DeleteObjectClass(KEY))
    assert not (objects / KEY).exists()
    assert object_path(objects, kept).exists()
    assert list(ObjectRecord.objects.values_list("class_key", flat=True)) == ["Retired2"]
    assert AuditEntry.objects.get().what == "class.delete"
    migrate(DeleteObjectClass(KEY), back=True)  # a no-op
    migrate(DeleteObjectClass(KEY))


@pytest.mark.django_db(transaction=True)
def test_copies_of_the_class_stay_for_the_time_of_retention(objects: Path, pool: SyncPool) -> None:
    object_id, store = make(objects, pool, KEY, "a")
    store.close()
    BackupState.objects.note_changed(KEY, [str(object_id)], timezone.now())
    migrate(DeleteObjectClass(KEY))
    state = BackupState.objects.get()
    assert state.changed_at is None
    assert state.gone_at is not None


@pytest.mark.django_db(transaction=True)
def test_damaged_files_go_too(objects: Path, pool: SyncPool) -> None:
    object_id, store = make(objects, pool, KEY, "a")
    store.close()
    path = object_path(objects, object_id)
    path.write_bytes(b"no database at all" * 400)
    path.with_name(f"{path.name}.damaged-1").write_bytes(b"")
    path.with_name(f"{path.name}.replaced-1").write_bytes(b"")
    migrate(DeleteObjectClass(KEY))
    assert not (objects / KEY).exists()


@pytest.mark.django_db(transaction=True)
def test_a_database_that_knows_none_deletes_nothing(objects: Path, pool: SyncPool) -> None:
    object_id, store = make(objects, pool, KEY, "a", row=False)
    store.close()
    migrate(DeleteObjectClass(KEY))
    assert object_path(objects, object_id).exists()


@pytest.mark.django_db(transaction=True)
def test_a_class_with_code_is_refused(objects: Path, pool: SyncPool) -> None:
    object_id, store = make(objects, pool, "Counter", "a")
    store.close()
    with pytest.raises(
        ObjectClassInUseError, match=r"still has code \(counters.objects.Counter\): remove it first"
    ):
        migrate(DeleteObjectClass("Counter"))
    assert object_path(objects, object_id).exists()
    assert ObjectRecord.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_object_that_a_process_holds_is_refused(objects: Path, pool: SyncPool) -> None:
    object_id, store = make(objects, pool, KEY, "a")
    with pytest.raises(ObjectClassInUseError, match="still holds .*: stop it, then migrate again"):
        migrate(DeleteObjectClass(KEY))
    assert ObjectRecord.objects.count() == 1
    assert store.kv.get("x", None) == "a"
    store.close()
    migrate(DeleteObjectClass(KEY))
    assert not object_path(objects, object_id).exists()


def test_it_is_written_into_migration_files() -> None:
    migration = type("Migration", (migrations.Migration,), {"operations": [DeleteObjectClass(KEY)]})(
        "0002", "shop"
    )
    text = MigrationWriter(migration).as_string()
    found: dict[str, Any] = {}
    exec(compile(text, "0002.py", "exec"), found)
    [operation] = found["Migration"].operations
    assert (type(operation), operation.key) == (DeleteObjectClass, KEY)
    assert operation.describe() == "Delete all durable objects of class Retired"
    assert operation.migration_name_fragment == "delete_objects_retired"


PROGRAM = """
from django.db import connection
from durable.errors import DurableError
from durable.operations import DeleteObjectClass
from durable.runtime.registry import registry
del registry._classes[{key!r}]
with connection.schema_editor(atomic=False) as editor:
    try:
        DeleteObjectClass({key!r}).database_forwards("x", editor, None, None)
    except DurableError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("operations")) as running:
        yield running


@pytest.mark.cluster
def test_a_running_service_that_has_the_class_is_respected(service: RunningService) -> None:
    service.manage("objects", "call", "Counter", "kept", "increment")
    eventually(lambda: "kept" in service.manage("objects", "list", "Counter"))
    said = service.manage("shell", "--no-imports", "-v0", "-c", PROGRAM.format(key="Counter"))
    assert "ObjectClassInUseError the running service still has the class 'Counter'" in said
    assert all(f"pid {pid}" in said for pid in service.worker_pids())
    assert service.manage("objects", "call", "Counter", "kept", "increment").strip() == "2"


RETIRE = """
import json, time
from django.db import connection
from durable.client import home
from durable.conf import durable_settings
from durable.identity import id_from_name
from durable.models import BackupState, ObjectRecord, moment
from durable.operations import DeleteObjectClass
from durable.service.attach import attach_to_redis
from durable.storage.durability import SyncPool
from durable.storage.store import Claim, Store, object_path

root, object_id = durable_settings().data_dir / "objects", id_from_name("Retired", "a")
pool = SyncPool(1, lambda done, error: done(error))
store = Store(root, object_id, Claim(1, "w"), pool=pool, changed=lambda error: None, now=0, clock=lambda: 0.0,
              statement_timeout=1)
store.kv.put_many({"x": 1})
store.commit()
store.close()
pool.close()
ObjectRecord.objects.create(class_key="Retired", object_id=str(object_id), name="a", created_at=moment(0),
                            last_active_at=moment(0))
attach_to_redis()
far = 9_000_000_000_000
home.run(lambda client: client.redis.index_alarms([(f"Retired:{object_id}", far)]))
home.run(lambda client: client.redis.claim(object_id, "somebody", 0))
with connection.schema_editor(atomic=False) as editor:
    DeleteObjectClass("Retired").database_forwards("x", editor, None, None)
print(json.dumps([
    object_path(root, object_id).exists(),
    ObjectRecord.objects.filter(class_key="Retired").count(),
    home.run(lambda client: client.redis.owner(object_id)),
    [due for due in home.run(lambda client: client.redis.due_alarms(far + 1, 10)) if "Retired" in due],
]))
"""


@pytest.mark.cluster
def test_a_running_service_without_the_class_may_run_on(service: RunningService) -> None:
    said = service.manage("shell", "--no-imports", "-v0", "-c", RETIRE)
    assert json.loads(said) == [False, 0, None, []]


async def test_an_alarm_left_of_a_deleted_class_is_dropped(local: LocalObjects) -> None:
    reference = f"{KEY}:{id_from_name(KEY, 'a')}"
    local.cluster.alarms[reference] = local.clock.now() - 1
    await local.advance(1)
    assert reference not in local.cluster.alarms
