"""What is wrong with objects, as their workers have seen it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import QuerySet

from durable.identity import ObjectId
from durable.models import ObjectTrouble
from durable.runtime.troubles import TroubleKind


class TroubleRecord(NamedTuple):
    """One kind of trouble of one object; `times` is how often it was seen."""

    class_key: str
    name: str | None
    id: str
    kind: str
    message: str
    first_at: datetime
    last_at: datetime
    times: int

    def document(self) -> dict[str, Any]:
        """The row as JSON is made of it."""
        return {"class": self.class_key, "name": self.name, "id": self.id, **self.of_object()}

    def of_object(self) -> dict[str, Any]:
        """The row without saying whose it is."""
        return {
            "kind": self.kind,
            "message": self.message,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "times": self.times,
        }


def list_troubles(class_key: str | None = None, *, limit: int) -> list[TroubleRecord]:
    """What is wrong, the newest first."""
    rows = ObjectTrouble.objects.order_by("-last_at")
    if class_key is not None:
        rows = rows.filter(class_key=class_key)
    return [_record(row) for row in rows[:limit]]


def troubles_of(object_id: ObjectId) -> list[TroubleRecord]:
    """What is wrong with one object."""
    return [_record(row) for row in _rows(object_id)]


def forget_damage(object_id: ObjectId) -> None:
    """The object has another file now, or none."""
    _rows(object_id).filter(kind=TroubleKind.DAMAGED.value).delete()


def forget_troubles(object_id: ObjectId) -> None:
    """Nothing is left of the object that could be wrong."""
    _rows(object_id).delete()


def _rows(object_id: ObjectId) -> QuerySet[ObjectTrouble]:
    return ObjectTrouble.objects.filter(class_key=object_id.class_key, object_id=str(object_id))


def _record(row: ObjectTrouble) -> TroubleRecord:
    return TroubleRecord(
        row.class_key,
        row.name or None,
        row.object_id,
        row.kind,
        row.message,
        row.first_at,
        row.last_at,
        row.times,
    )
