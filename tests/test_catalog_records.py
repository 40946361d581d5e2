"""The catalog's searches: by prefix and page after page, by the bytes of names, without scans."""

import itertools

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from durable.models import ObjectRecord

pytestmark = pytest.mark.django_db

_ids = itertools.count()


def add(*names: str, class_key: str = "Room") -> None:
    now = timezone.now()
    for name in names:
        ObjectRecord.objects.create(
            class_key=class_key, object_id=f"{next(_ids):064x}", name=name, created_at=now, last_active_at=now
        )


def names(prefix: str) -> list[str]:
    return list(ObjectRecord.objects.of_class("Room").named(prefix).values_list("name", flat=True))


def test_a_prefix_finds_names_by_case_and_class() -> None:
    add("alpha", "alphabet", "alp", "Alpha", "beta")
    add("alpha", class_key="Counter")
    assert names("alpha") == ["alpha", "alphabet"]
    assert names("") == ["Alpha", "alp", "alpha", "alphabet", "beta"]


@pytest.mark.parametrize("prefix", ["a%", "a_", "é", "😀", "\ud7ff", "\U0010ffff", "a\U0010ffff"])
def test_any_prefix_is_taken_literally(prefix: str) -> None:
    add(prefix, prefix + "z", prefix + "\U0010ffff", "b", "axc", "\ue000")
    assert names(prefix) == sorted([prefix, prefix + "z", prefix + "\U0010ffff"])


def test_pages_follow_each_other_without_gaps_also_among_nameless_objects() -> None:
    add("", "", "", "a", "b", "c")
    seen: list[tuple[str, str]] = []
    cursor = ("", "")
    while page := list(ObjectRecord.objects.of_class("Room").after(*cursor)[:2]):
        seen += [(row.name, row.object_id) for row in page]
        cursor = seen[-1]
    assert seen == sorted(seen)
    assert len(set(seen)) == 6


def test_one_row_an_object() -> None:
    now = timezone.now()
    row = {"class_key": "Room", "object_id": "0" * 64, "created_at": now, "last_active_at": now}
    ObjectRecord.objects.create(**row)
    with pytest.raises(IntegrityError), transaction.atomic():
        ObjectRecord.objects.create(**row)


def test_N2_searches_use_the_index() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("reads SQLite's query plan")
    query = ObjectRecord.objects.of_class("Room").named("alpha").after("alpha-7", "0" * 64)[:50]
    plan = query.explain()
    assert "USING INDEX durable_object_name (class_key=? AND name>?" in plan
    assert "TEMP B-TREE" not in plan
