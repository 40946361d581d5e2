"""Migration operations about objects: `DeleteObjectClass` deletes a class's objects with their files.

class Migration(migrations.Migration):
    dependencies = [("shop", "0004_order"), ("durable", "0002_object_permissions")]
    operations = [DeleteObjectClass("Shelf")]
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory
from django.utils import timezone

from durable.client import ClusterClient, home
from durable.cluster.commands import NotActiveError
from durable.conf import durable_settings
from durable.core import codec
from durable.core.envelope import Target
from durable.errors import DamagedFileError, DurableError, UnavailableError
from durable.identity import ObjectId, check_key
from durable.models import AuditEntry, BackupState, ObjectRecord
from durable.runtime.registry import registry
from durable.service.attach import attach_to_redis
from durable.service.errors import ServiceError
from durable.storage.database import Database
from durable.storage.failures import BusyFileError

__all__ = ["DeleteObjectClass", "ObjectClassInUseError"]

BATCH = 500


class ObjectClassInUseError(DurableError):
    """A class's objects cannot be deleted, since something can still use them; the message says what to do first."""

    code = "class_in_use"
    delivered = "no"


class DeleteObjectClass(Operation):
    """Deletes all objects of the class with this key, for good: files, catalog rows, alarms, ownership.

    Take the class out of the code first. It refuses while a running service still has the class; a service whose code
    does not have it may run on. A database whose catalog has no object of the class deletes nothing, so that a test's
    database never touches the data directory. Going back does nothing.

    Args:
        key: the class's key (the name of the Python class, unless it had a `key`).
    """

    reduces_to_sql = False
    reversible = True
    atomic = False
    category = OperationCategory.REMOVAL

    def __init__(self, key: str) -> None:
        self.key = check_key(key)

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Models do not change."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Delete the objects. Raises ObjectClassInUseError."""
        connection = schema_editor.connection
        if connection.alias != router.db_for_write(ObjectRecord):
            return
        tables = connection.introspection.table_names()
        if ObjectRecord._meta.db_table not in tables:
            return
        rows = ObjectRecord.objects.using(connection.alias).filter(class_key=self.key)
        if rows.exists():
            served = _refuse_use(self.key)
            AuditEntry.record("migrate", "class.delete", class_key=self.key)
            for ids in _batches(_delete_files(durable_settings().data_dir / "objects" / self.key)):
                if served:
                    home.run(lambda client, ids=ids: client.redis.forget_objects(ids))  # type: ignore[misc]
            rows.delete()
            if BackupState._meta.db_table in tables:
                copied = BackupState.objects.using(connection.alias).filter(class_key=self.key)
                copied.update(changed_at=None, gone_at=timezone.now())

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """What was deleted does not come back."""

    def describe(self) -> str:
        """As `migrate --plan` shows it."""
        return f"Delete all durable objects of class {self.key}"

    @property
    def migration_name_fragment(self) -> str:
        """As `makemigrations` names it."""
        return f"delete_objects_{self.key.lower().replace('-', '_')}"


def _refuse_use(key: str) -> bool:
    """Raise ObjectClassInUseError when code here or a live worker has the class; whether a service runs."""
    if key in registry:
        kind = registry.get(key)
        raise ObjectClassInUseError(
            f"the class {key!r} still has code ({kind.__module__}.{kind.__qualname__}): remove it first, then migrate"
        )
    try:
        attach_to_redis()
    except ServiceError:
        return False  # nobody serves this data directory
    if users := home.run(lambda client: _workers_with(client, key)):
        raise ObjectClassInUseError(
            f"the running service still has the class {key!r} ({'; '.join(users)}): stop it, or restart it with the new "
            "code, then migrate"
        )
    return True


async def _workers_with(client: ClusterClient, key: str) -> list[str]:
    """The live workers that have the class, or might have it."""
    users = []
    await client.directory.refresh()
    for session in await client.redis.list_workers():
        try:
            reply = await client.router.command(session.worker, Target(key, "", None), "classes")
        except (NotActiveError, UnavailableError):
            users.append(f"worker pid {session.pid} on {session.host} does not say which classes it has")
            continue
        if reply.value is None or key in codec.decode(reply.value):
            users.append(f"worker pid {session.pid} on {session.host}")
    return users


def _delete_files(folder: Path) -> Iterator[ObjectId]:
    """Delete the class's files, each while its lock is held; the ids. Raises ObjectClassInUseError for one in use."""
    for shelf in sorted(folder.glob("??")):
        for path in sorted(shelf.glob("*.sqlite3")):
            try:
                _delete_file(path)
            except BusyFileError:
                raise ObjectClassInUseError(
                    f"a process still holds {path}: stop it, then migrate again; what was deleted so far is gone"
                ) from None
            yield ObjectId(folder.name, path.name.removesuffix(".sqlite3"))
        for kept in (*shelf.glob("*.damaged-*"), *shelf.glob("*.replaced-*")):  # by `manage.py objects`
            kept.unlink()
        _sync(shelf)
        with contextlib.suppress(OSError):  # something else lies there
            shelf.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _delete_file(path: Path) -> None:
    """As the runtime removes an empty object's file: who has opened it meanwhile sees that it is gone."""
    database = Database(path, time.monotonic, float("inf"))
    try:
        database.open()
        if not database.in_memory:
            database.remove()
            return
        database.close()
    except DamagedFileError:
        pass
    except apsw.Error:  # a database, but none of ours
        database.close()
    for left in (path, Path(f"{path}-wal")):
        left.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _batches(ids: Iterable[ObjectId]) -> Iterator[list[ObjectId]]:
    rest = iter(ids)
    while batch := list(islice(rest, BATCH)):
        yield batch
