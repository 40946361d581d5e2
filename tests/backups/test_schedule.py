"""The schedule: what is due, who does it, and what becomes of the copies of deleted objects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage
from django.utils import timezone

from durable.backups import Backups, Made
from durable.backups.keeper import AT_ONCE, Round, claim, run_round
from durable.conf import DurableSettings
from durable.identity import ObjectId, id_from_name
from durable.inspector import Inspector
from durable.inspector.records import in_database
from durable.inspector.wholes import AbsentObjectError
from durable.models import BackupState
from durable.runtime.surroundings import CatalogEntry
from durable.testing import LocalObjects
from tests.durable.lab import lab

from .conftest import Calendar, WrittenCatalog

pytestmark = pytest.mark.django_db(transaction=True)

ID = id_from_name("Lab", "lab")


class Schedule:
    """Rounds of one worker."""

    def __init__(self, backups: Backups, conf: DurableSettings, calendar: Calendar, catalog: WrittenCatalog):
        self._backups, self._conf, self._calendar, self._catalog = backups, conf, calendar, catalog

    async def round(self) -> Round:
        await self._catalog.write()
        claimed = await in_database(claim, self._conf, self._calendar())
        return await run_round(self._backups, claimed)

    async def copies(self) -> int:
        return len(await self._backups.copies(ID))


@pytest.fixture
def schedule(backups: Backups, operator: Inspector, calendar: Calendar, catalog: WrittenCatalog) -> Schedule:
    return Schedule(backups, operator.conf, calendar, catalog)


async def test_B2_a_change_is_copied_when_it_has_waited_long_enough(
    local: LocalObjects, schedule: Schedule, calendar: Calendar
) -> None:
    await lab().increment()
    assert await schedule.round() == Round(0, 0)
    calendar.advance(minutes=59)
    assert await schedule.round() == Round(0, 0)
    calendar.advance(minutes=1)
    assert await schedule.round() == Round(1, 0)
    assert await schedule.copies() == 1
    calendar.advance(days=1)
    assert await schedule.round() == Round(0, 0)  # nothing has changed


async def test_an_object_that_is_always_active_is_copied_again_when_it_has_changed(
    local: LocalObjects, schedule: Schedule, calendar: Calendar
) -> None:
    for count in range(1, 4):
        await lab().increment()
        await lab().increment()
        calendar.advance(hours=1)
        await schedule.round()
        calendar.advance(hours=1)
        await schedule.round()
        assert await schedule.copies() == count
    assert local.is_active(lab())


async def test_a_change_that_only_a_dead_worker_had_noted_is_copied(
    local: LocalObjects, schedule: Schedule, calendar: Calendar
) -> None:
    await lab().increment()
    await local.crash()
    await schedule.round()
    calendar.advance(hours=1)
    assert await schedule.round() == Round(1, 0)


async def test_a_pending_entry_that_says_changed_is_not_lost_to_a_later_one() -> None:
    from durable.catalog import _newest

    first = CatalogEntry("Lab", str(ID), "lab", 1, 2, 3, None, gone=False, changed=True)
    later = first._replace(last_active=9, changed=False)
    assert _newest([first, later]) == {str(ID): later._replace(changed=True)}


async def test_a_class_can_stay_out_of_it(
    local: LocalObjects, schedule: Schedule, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.durable.lab.Lab.backup", False)
    await lab().increment()
    calendar.advance(hours=2)
    assert await schedule.round() == Round(0, 0)
    assert await BackupState.objects.acount() == 0


async def test_a_worker_does_a_few_at_a_time_and_each_object_once(
    local: LocalObjects, schedule: Schedule, calendar: Calendar
) -> None:
    for number in range(7):
        await lab(f"n{number}").increment()
    calendar.advance(hours=1)
    await schedule.round()
    rounds = [await schedule.round() for _ in range(4)]
    assert max(one.done for one in rounds) == AT_ONCE
    assert await BackupState.objects.filter(copied_at__isnull=False).acount() == 7


async def test_workers_share_the_work_without_doing_it_twice(
    local: LocalObjects,
    schedule: Schedule,
    calendar: Calendar,
    storage: InMemoryStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[str] = []
    save = storage._save

    def noted(name: str, content: Any) -> str:
        saved.append(name.split("/")[2])
        return str(save(name, content))

    monkeypatch.setattr(storage, "_save", noted)
    for number in range(6):
        await lab(f"n{number}").increment()
    await schedule._catalog.write()
    calendar.advance(hours=1)
    while len(saved) < 6:
        await asyncio.gather(schedule.round(), schedule.round(), schedule.round())
    assert sorted(saved) == sorted(str(id_from_name("Lab", f"n{number}")) for number in range(6))


async def test_what_failed_is_tried_again_later(
    local: LocalObjects,
    schedule: Schedule,
    calendar: Calendar,
    storage: InMemoryStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(name: str, content: Any) -> str:
        raise OSError(28, "No space left on device")

    await lab().increment()
    await schedule.round()
    calendar.advance(hours=1)
    with monkeypatch.context() as broken:
        broken.setattr(storage, "_save", full)
        assert await schedule.round() == Round(0, 1)
        assert await schedule.round() == Round(0, 0)
    state = await BackupState.objects.aget()
    assert "No space left" in state.error
    calendar.advance(minutes=15)
    assert await schedule.round() == Round(1, 0)
    await state.arefresh_from_db()
    assert (state.error, state.changed_at, state.tried_at) == ("", None, None)


async def test_B2_what_a_dead_worker_had_begun_is_done_by_another(
    local: LocalObjects,
    schedule: Schedule,
    calendar: Calendar,
    backups: Backups,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def die(*_: Any) -> None:
        raise asyncio.CancelledError

    await lab().increment()
    await schedule.round()
    calendar.advance(hours=1)
    with monkeypatch.context() as dying:
        dying.setattr(backups, "make_claimed", die)
        with pytest.raises(asyncio.CancelledError):
            await schedule.round()
    assert await schedule.round() == Round(0, 0)  # it might live
    calendar.advance(minutes=15)
    assert await schedule.round() == Round(1, 0)


async def _copied_and_deleted(schedule: Schedule, calendar: Calendar, operator: Inspector) -> None:
    await lab().increment()
    await schedule.round()
    calendar.advance(hours=1)
    await schedule.round()
    await operator.delete(ID)
    await schedule.round()


async def test_B3_a_deleted_object_keeps_its_copies_for_the_time_of_retention(
    local: LocalObjects, schedule: Schedule, calendar: Calendar, operator: Inspector, storage: InMemoryStorage
) -> None:
    await _copied_and_deleted(schedule, calendar, operator)
    calendar.advance(days=operator.conf.backup_keep_days - 1)
    assert await schedule.round() == Round(0, 0)
    assert await schedule.copies() == 1
    calendar.advance(days=1)
    assert await schedule.round() == Round(1, 0)
    assert await schedule.copies() == 0
    assert await BackupState.objects.acount() == 0


async def test_an_object_made_anew_keeps_the_copies_of_its_predecessor(
    local: LocalObjects, schedule: Schedule, calendar: Calendar, operator: Inspector
) -> None:
    await _copied_and_deleted(schedule, calendar, operator)
    await lab().increment()
    await lab().increment()
    await schedule.round()
    calendar.advance(days=operator.conf.backup_keep_days + 1)
    await schedule.round()
    assert await schedule.copies() == 2


async def test_B2_a_change_noted_while_the_copies_of_its_predecessor_expire_is_not_forgotten(
    local: LocalObjects,
    schedule: Schedule,
    calendar: Calendar,
    operator: Inspector,
    storage: InMemoryStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await _copied_and_deleted(schedule, calendar, operator)
    calendar.advance(days=operator.conf.backup_keep_days)
    delete = storage.delete

    def delete_slowly(name: str) -> None:
        delete(name)
        BackupState.objects.note_changed("Lab", [str(ID)], calendar())

    monkeypatch.setattr(storage, "delete", delete_slowly)
    assert await schedule.round() == Round(1, 0)
    state = await BackupState.objects.aget()
    assert state.changed_at is not None
    assert (state.gone_at, state.tried_at) == (None, None)


async def test_B2_a_change_noted_while_an_object_is_found_absent_is_not_forgotten(
    local: LocalObjects, backups: Backups, operator: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = operator.image

    @asynccontextmanager
    async def look_slowly(object_id: ObjectId, *, backup: bool = False) -> AsyncIterator[Path]:
        try:
            async with image(object_id, backup=backup) as found:
                yield found
        except AbsentObjectError:
            await in_database(BackupState.objects.note_changed, "Lab", [str(ID)], timezone.now())
            raise

    monkeypatch.setattr(operator, "image", look_slowly)
    assert await backups.make(ID) is Made.ABSENT
    state = await BackupState.objects.aget()
    assert state.changed_at is not None
    assert (state.gone_at, state.tried_at) == (None, None)


async def test_the_copies_of_an_object_that_is_there_never_expire(
    local: LocalObjects, schedule: Schedule, calendar: Calendar
) -> None:
    await lab().increment()
    await schedule.round()
    calendar.advance(hours=1)
    await schedule.round()
    await BackupState.objects.aupdate(gone_at=calendar())  # a note that came too late
    calendar.advance(days=100)
    await schedule.round()
    assert await schedule.copies() == 1
