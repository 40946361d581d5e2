"""The catalog page after page, over classes, without counting or scanning."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from durable.inspector import decode_position, encode_position, list_records, records_of_id, stored_classes
from durable.inspector.records import Position
from durable.models import ObjectRecord, moment

pytestmark = pytest.mark.django_db


def add(class_key: str, *names: str) -> None:
    rows = [
        ObjectRecord(
            class_key=class_key,
            object_id=f"{class_key}{name}".encode().hex().zfill(64)[:64],
            name=name,
            created_at=moment(0),
            last_active_at=moment(0),
        )
        for name in names
    ]
    ObjectRecord.objects.bulk_create(rows)


def pages(class_key: str | None = None, prefix: str = "", limit: int = 2) -> list[str]:
    seen: list[str] = []
    after: Position | None = None
    while True:
        page = list_records(class_key, prefix=prefix, after=after, limit=limit)
        seen += [f"{record.class_key} {record.name}" for record in page.records]
        if page.next is None:
            return seen
        assert len(page.records) == limit
        after = decode_position(encode_position(page.next))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_run_through_all_classes_without_gaps(limit: int) -> None:
    add("B", "x", "y", "z")
    add("A", "1", "2")
    add("C", "\x00ñ", "é😀")
    everything = ["A 1", "A 2", "B x", "B y", "B z", "C \x00ñ", "C é😀"]
    assert pages(limit=limit) == everything
    assert pages("B", limit=limit) == everything[2:5]


def test_a_prefix_is_looked_for_in_every_class() -> None:
    add("A", "room-1", "other", "Room-3")
    add("B", "room-2")
    assert pages(prefix="room-", limit=1) == ["A room-1", "B room-2"]


def test_classes_and_ids_are_found() -> None:
    add("B", "x")
    add("A", "1", "2")
    assert stored_classes() == ["A", "B"]
    (found,) = list_records("B", limit=1).records
    assert records_of_id(found.id) == [found]
    assert records_of_id("0" * 64) == []


@pytest.mark.parametrize("cursor", ["", "zzz", "\x00", "é", "W10", "WzIsImEiLCJiIiwiYyJd"])
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError):
        decode_position(cursor)


def test_N2_a_million_rows_are_searched_by_index() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's query plan")
    add("A", "1")
    with CaptureQueriesContext(connection) as asked:
        list_records(None, prefix="a", after=("A", "1", "0" * 64), limit=50)
        stored_classes()
        records_of_id("0" * 64)
    for query in asked.captured_queries:
        assert "COUNT" not in query["sql"]
        with connection.cursor() as cursor:
            plan = cursor.execute("EXPLAIN QUERY PLAN " + query["sql"].replace("%", "%%")).fetchall()
        for step in plan:
            assert " INDEX " in step[3], (query["sql"], step)
            assert "TEMP B-TREE" not in step[3], (query["sql"], step)
