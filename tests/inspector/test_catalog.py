"""The catalog's writer: batches behind requests, and marks that a killed worker leaves to the next."""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import OperationalError

from durable.catalog import FOLDER, DjangoCatalog, Marks
from durable.cluster.processes import ProcessIdentity, send_signal
from durable.identity import id_from_name
from durable.models import ObjectRecord
from durable.runtime.surroundings import CatalogEntry
from durable.storage.store import object_path
from tests.running_service import RunningService, eventually


def entry(data_dir: Path, name: str, *, stored: bool = True, storage_bytes: int = 1) -> CatalogEntry:
    """What a worker says of an object, whose file is made or removed to match."""
    target = id_from_name("Room", name)
    path = object_path(data_dir / "objects", target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if stored:
        path.touch()
    else:
        path.unlink(missing_ok=True)
    return CatalogEntry("Room", str(target), name, 1_000, 2_000, storage_bytes, None, gone=not stored)


def names() -> set[str]:
    try:
        return set(ObjectRecord.objects.values_list("name", flat=True))
    except OperationalError:  # the test's database in memory cannot be read while somebody writes
        return {"(being written)"}


def marked(data_dir: Path) -> int:
    """Entries that no row has been written for."""
    return sum(path.read_bytes().count(b"\n") for path in (data_dir / FOLDER).glob("*.marks"))


pytestmark = pytest.mark.django_db(transaction=True)


def test_entries_become_rows_and_the_newest_wins(tmp_path: Path) -> None:
    with DjangoCatalog(tmp_path) as catalog:
        catalog.note(entry(tmp_path, "a"))
        catalog.note(entry(tmp_path, "b", storage_bytes=1))
        catalog.note(entry(tmp_path, "b", storage_bytes=7))
        eventually(lambda: names() == {"a", "b"})
    assert ObjectRecord.objects.get(name="b").storage_bytes == 7
    assert not list((tmp_path / FOLDER).iterdir())


def test_I6_an_object_whose_file_is_gone_loses_its_row(tmp_path: Path) -> None:
    with DjangoCatalog(tmp_path) as catalog:
        catalog.note(entry(tmp_path, "a"))
        eventually(lambda: names() == {"a"})
        catalog.note(entry(tmp_path, "a", stored=False))
        eventually(lambda: not names())


def test_the_file_decides_however_late_an_entry_comes(tmp_path: Path) -> None:
    gone = entry(tmp_path, "again", stored=False)
    entry(tmp_path, "again")  # made again by another worker before this one's entry is written
    with DjangoCatalog(tmp_path) as catalog:
        catalog.note(gone)
    assert names() == {"again"}


def test_what_is_left_is_written_at_the_end(tmp_path: Path) -> None:
    with DjangoCatalog(tmp_path) as catalog:
        for number in range(700):
            catalog.note(entry(tmp_path, f"n{number}"))
    assert len(names()) == 700


def test_more_entries_than_memory_holds_are_read_from_the_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.catalog.MOST_IN_MEMORY", 3)
    with DjangoCatalog(tmp_path) as catalog:
        for number in range(50):
            catalog.note(entry(tmp_path, f"n{number}"))
    assert len(names()) == 50


def test_marks_of_a_dead_worker_are_written_though_its_last_line_is_torn(tmp_path: Path) -> None:
    marks = Marks.make(tmp_path / FOLDER)
    marks.add(entry(tmp_path, "left"))
    marks.close(remove=False)  # what the death of a process does
    with next((tmp_path / FOLDER).iterdir()).open("ab") as file:
        file.write(b'["Room","12')
    with DjangoCatalog(tmp_path):
        eventually(lambda: names() == {"left"})


def test_marks_of_a_living_worker_are_left_alone(tmp_path: Path) -> None:
    marks = Marks.make(tmp_path / FOLDER)
    marks.add(entry(tmp_path, "theirs"))
    with DjangoCatalog(tmp_path) as catalog:
        catalog.note(entry(tmp_path, "mine"))
        eventually(lambda: names() == {"mine"})
    assert marked(tmp_path) == 1
    marks.close(remove=True)


def test_what_the_database_refuses_stays_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = threading.Event()

    def refuse(*_: Any, **__: Any) -> None:
        refused.set()
        raise sqlite3_error()

    def sqlite3_error() -> Exception:
        from django.db import OperationalError

        return OperationalError("database is locked")

    with DjangoCatalog(tmp_path) as catalog:
        monkeypatch.setattr(ObjectRecord.objects, "bulk_create", refuse)
        catalog.note(entry(tmp_path, "kept"))
        assert refused.wait(10)
    assert marked(tmp_path) == 1
    monkeypatch.undo()
    with DjangoCatalog(tmp_path):
        eventually(lambda: names() == {"kept"})


@pytest.fixture
def site_is_locked(service: RunningService) -> Callable[[], sqlite3.Connection]:
    """Hold Django's database, as a long write would."""

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(service.data_dir / "site.sqlite3", isolation_level=None, timeout=20)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    return lock


@pytest.mark.cluster
def test_kill_9_of_all_workers_loses_no_row(
    service: RunningService, site_is_locked: Callable[[], sqlite3.Connection]
) -> None:
    locked = site_is_locked()
    wanted = {f"killed-{number}" for number in range(20)}
    for name in wanted:  # requests are answered though no row can be written
        httpx.post(f"{service.base_url}/api/v1/counters/{name}/increment", timeout=10).raise_for_status()
    victims = [child.identity for child in service.record().children if child.name.startswith("worker")]
    assert listed(service) & wanted == set()
    for victim in victims:
        assert isinstance(victim, ProcessIdentity)
        assert victim.pid != os.getpid()
        send_signal(victim, signal.SIGKILL)
    eventually(lambda: len(set(service.worker_pids()) - {victim.pid for victim in victims}) == 2, within=30)
    locked.execute("ROLLBACK")
    locked.close()
    eventually(lambda: wanted <= listed(service), within=45)


def listed(service: RunningService) -> set[str]:
    with sqlite3.connect(f"file:{service.data_dir / 'site.sqlite3'}?mode=ro", uri=True) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM durable_objectrecord")}
