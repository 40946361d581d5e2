"""What is wrong with objects, from their worker to the operator's eyes."""

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from durable import troubles
from durable.identity import ObjectId, id_from_name
from durable.inspector import Inspector
from durable.models import AuditEntry, ObjectTrouble
from durable.runtime.troubles import TroubleKind
from durable.testing import LocalObjects
from durable.troubles import DjangoTroubles
from tests.running_service import eventually

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = id_from_name("Room", "blue")


@pytest.fixture
def book() -> Iterator[DjangoTroubles]:
    with DjangoTroubles() as book:
        yield book


def rows() -> list[tuple[str, str, int]]:
    """Kind, message and times, oldest first."""
    return list(ObjectTrouble.objects.order_by("id").values_list("kind", "message", "times"))


def test_what_is_seen_again_is_one_row_that_counts(book: DjangoTroubles) -> None:
    book.seen(ROOM, TroubleKind.START, "first")
    eventually(rows)
    for n in range(3):
        book.seen(ROOM, TroubleKind.START, f"again {n}")
    book.seen(ROOM, TroubleKind.DISK, "full")
    eventually(lambda: set(rows()) == {("start", "again 2", 4), ("disk", "full", 1)})
    row = ObjectTrouble.objects.get(kind="start")
    assert (row.class_key, row.object_id, row.name) == ("Room", str(ROOM), "blue")
    assert row.first_at <= row.last_at


def test_who_does_not_know_the_name_does_not_take_it_away(book: DjangoTroubles) -> None:
    book.seen(ROOM, TroubleKind.DAMAGED, "by name")
    eventually(rows)
    book.seen(ObjectId("Room", str(ROOM)), TroubleKind.DAMAGED, "by id")
    eventually(lambda: rows() == [("damaged", "by id", 2)])
    assert ObjectTrouble.objects.get().name == "blue"


def test_what_is_over_is_gone_also_when_another_worker_saw_it(book: DjangoTroubles) -> None:
    with DjangoTroubles() as other:
        other.seen(ROOM, TroubleKind.START, "broken")
        other.seen(ROOM, TroubleKind.DISK, "full")
    book.seen(id_from_name("Room", "red"), TroubleKind.ALARM, "after which it looks at the rows")
    eventually(lambda: book.over(ROOM, TroubleKind.START) or {row[0] for row in rows()} == {"disk", "alarm"})


def test_what_is_over_is_gone_also_when_more_is_wrong_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(troubles, "MOST_KNOWN", 3)
    targets = {str(target): target for target in (id_from_name("Room", f"{number}") for number in range(6))}
    ObjectTrouble.objects.bulk_create(ObjectTrouble(**row_of(target)) for target in targets.values())
    with DjangoTroubles() as book:
        known = eventually(lambda: book._known)
        unknown, *_ = targets.keys() - {object_id for _, object_id, _ in known}
        book.over(targets[unknown], TroubleKind.START)
        eventually(lambda: not ObjectTrouble.objects.filter(object_id=unknown).exists())
    assert len(rows()) == 5


def test_what_is_over_before_it_was_written_leaves_no_row(book: DjangoTroubles) -> None:
    for n in range(50):
        target = id_from_name("Room", f"{n}")
        book.seen(target, TroubleKind.START, "broken")
        book.over(target, TroubleKind.START)
    book.seen(ROOM, TroubleKind.START, "stays")
    eventually(lambda: rows() == [("start", "stays", 1)])


def test_no_more_wait_than_are_allowed(book: DjangoTroubles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "MOST_WAITING", 3)
    monkeypatch.setattr(DjangoTroubles, "_flush", lambda self: None)
    for n in range(10):
        book.seen(id_from_name("Room", f"{n}"), TroubleKind.START, "broken")
    assert len(book._seen) == 3


async def test_G3_showing_an_object_tells_what_is_wrong_with_it(
    local: LocalObjects, operator: Inspector
) -> None:
    await ObjectTrouble.objects.acreate(**row_of(ROOM, message="ValueError: no"))
    shown = await operator.show(ROOM)
    assert [(one["kind"], one["message"], one["times"]) for one in shown["troubles"]] == [
        ("start", "ValueError: no", 2)
    ]
    assert (await operator.show(id_from_name("Room", "red")))["troubles"] == []


def row_of(target: ObjectId, **changed: Any) -> dict[str, Any]:
    """The fields of a row."""
    times = {"first_at": "2026-01-01T00:00Z", "last_at": "2026-01-02T00:00Z", "times": 2}
    identity = {"class_key": target.class_key, "object_id": str(target), "name": target.name or ""}
    return {**identity, "kind": "start", "message": "broken", **times, **changed}


def test_G3_they_are_listed_from_a_shell() -> None:
    ObjectTrouble.objects.create(**row_of(ROOM, message="a\nb"))
    ObjectTrouble.objects.create(**row_of(id_from_name("Counter", "c")))
    listed, as_json = StringIO(), StringIO()
    call_command("objects", "troubles", "Room", stdout=listed)
    assert listed.getvalue().splitlines() == [
        "Room             blue                             start         2 times, last 2026-01-02 00:00:00+00:00: a\\nb"
    ]
    call_command("objects", "troubles", "--json", stdout=as_json)
    assert {one["class"] for one in json.loads(as_json.getvalue())} == {"Room", "Counter"}


def test_N3_an_operator_dismisses_one_and_that_is_recorded(client: Client) -> None:
    row = ObjectTrouble.objects.create(**row_of(ROOM, kind="set aside", message="call draw"))
    user = User.objects.create_superuser("op", password="pw")
    client.force_login(user)
    page = client.get("/admin/durable/objecttrouble/", headers={"host": "127.0.0.1"})
    assert page.status_code == 200
    text = page.content.decode()
    assert "call draw" in text
    assert f"/admin/durable/objectrecord/object/Room/{ROOM}/" in text
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    done = client.post("/admin/durable/objecttrouble/", chosen, headers={"host": "127.0.0.1"})
    assert done.status_code == 302
    assert rows() == []
    entry = AuditEntry.objects.get(what="trouble.dismiss")
    assert (entry.who, entry.object_id, entry.details) == ("user:op", str(ROOM), {"kind": "set aside"})


def test_N3_an_operator_dismisses_more_than_a_form_has_fields(client: Client) -> None:
    names = [f"n{number}" for number in range(1_200)]
    ObjectTrouble.objects.bulk_create(
        ObjectTrouble(**row_of(id_from_name("Counter", name), name=name)) for name in names
    )
    kept = ObjectTrouble.objects.create(**row_of(ROOM))
    client.force_login(User.objects.create_superuser("op", password="pw"))
    chosen = {"action": "delete_selected", "_selected_action": [kept.pk - 1], "select_across": "1"}
    done = client.post("/admin/durable/objecttrouble/?class_key=Counter", chosen, follow=True)
    assert "Dismissed: 1200." in done.content.decode()
    assert ObjectTrouble.objects.get() == kept
    dismissed = AuditEntry.objects.filter(what="trouble.dismiss", who="user:op")
    assert set(dismissed.values_list("name", flat=True)) == set(names)
