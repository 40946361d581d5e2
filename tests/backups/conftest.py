"""Backups of local objects into a storage in memory, on a clock that the test moves."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.core.files.storage import InMemoryStorage
from django.utils import timezone

from durable.backups import Archive, Backups
from durable.catalog import DjangoCatalog
from durable.inspector import Inspector
from durable.inspector.records import in_database
from durable.runtime.surroundings import CatalogEntry
from durable.testing import LocalObjects
from tests.durable.lab import HOOKS, STEPS
from tests.inspector.conftest import operator

__all__ = ["operator"]


class Calendar:
    """The time of the database, which goes on, and jumps ahead when the test says so."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return timezone.now() + self._ahead

    def advance(self, **time: float) -> None:
        """Let time pass: `advance(hours=1)`."""
        self._ahead += timedelta(**time)


class WrittenCatalog:
    """What workers note reaches the database when the test says so."""

    def __init__(self, local: LocalObjects) -> None:
        self._catalog = DjangoCatalog(local.conf.data_dir.parent)
        self._noted: list[CatalogEntry] = []

    def note(self, entry: CatalogEntry) -> None:
        self._noted.append(entry)

    async def write(self) -> None:
        """Write all that has been noted so far."""
        noted, self._noted = self._noted, []
        for entry in noted:
            await in_database(self._catalog._write, [entry])


@pytest.fixture(autouse=True)
def _plain_lab() -> Iterator[None]:
    yield
    HOOKS.clear()
    STEPS.clear()


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def storage() -> InMemoryStorage:
    """Nothing but Django's storage interface."""
    return InMemoryStorage()


@pytest.fixture
def archive(storage: InMemoryStorage) -> Archive:
    return Archive(storage)


@pytest.fixture
def catalog(local: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> WrittenCatalog:
    written = WrittenCatalog(local)
    monkeypatch.setattr(local.catalog, "note", written.note)
    return written


@pytest.fixture
def backups(
    operator: Inspector, archive: Archive, local: LocalObjects, calendar: Calendar, catalog: WrittenCatalog
) -> Backups:
    return Backups(operator, archive, operator.conf, calendar)
