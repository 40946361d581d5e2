"""What is wrong with objects, in Django's database: written by workers from a thread of its own, read by operators.

Nothing here is worth waiting for: what cannot be written is tried again for as long as the worker lives, and then dropped,
since what is wrong stands in the log and is seen again.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.models import F

from durable.identity import ObjectId
from durable.models import ObjectTrouble, moment
from durable.runtime.troubles import TroubleKind

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
RETRY_SECONDS = 0.5
MOST_WAITING = 1_000
MOST_KNOWN = 10_000
MOST_CHARACTERS = 2_000
STOP_SECONDS = 2.0

Reference = tuple[str, str, str]
"""(class key, object id, kind)."""


class _Seen(NamedTuple):
    """One kind of trouble of one object, seen `times` times since the last writing."""

    name: str
    message: str
    first: datetime
    last: datetime
    times: int


class DjangoTroubles:
    """Writes troubles to `ObjectTrouble`. Use it as a context manager; `seen` and `over` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._known: set[Reference] = set()  # rows there are, as far as we know
        self._knows_all = True
        self._seen: dict[Reference, _Seen] = {}
        self._over: set[Reference] = set()
        self._thread = threading.Thread(target=self._work, name="durable-troubles", daemon=True)

    def __enter__(self) -> DjangoTroubles:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Write what is left, within a moment."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(STOP_SECONDS)

    def seen(self, object_id: ObjectId, kind: TroubleKind, message: str) -> None:
        """This is wrong, again or for the first time."""
        reference = (object_id.class_key, str(object_id), kind.value)
        now = moment(time.time_ns() // 1_000_000)
        with self._lock:
            before = self._seen.get(reference)
            if before is None and len(self._seen) >= MOST_WAITING:
                return  # so much is wrong that the first thousand tell it
            self._over.discard(reference)
            self._seen[reference] = _Seen(
                object_id.name or "",
                message[:MOST_CHARACTERS],
                now if before is None else before.first,
                now,
                1 if before is None else before.times + 1,
            )
        self._wanted.set()

    def over(self, object_id: ObjectId, *kinds: TroubleKind) -> None:
        """Nothing of these kinds is wrong any more, if it was."""
        if not self._known and not self._seen:
            return
        with self._lock:
            references = [(object_id.class_key, str(object_id), kind.value) for kind in kinds]
            for reference in references:
                waited = self._seen.pop(reference, None)
                if waited is not None or reference in self._known or not self._knows_all:
                    if len(self._over) < MOST_KNOWN:
                        self._over.add(reference)
                    self._wanted.set()

    # -- in the thread

    def _work(self) -> None:
        try:
            while True:
                self._refresh()
                self._wanted.wait(REFRESH_SECONDS)
                self._wanted.clear()
                stopping = self._stopping.is_set()
                written = self._flush()
                if stopping:
                    return
                if not written:
                    self._stopping.wait(RETRY_SECONDS)
        finally:
            connections.close_all()

    def _refresh(self) -> None:
        """Learn which rows there are: other workers write some, operators delete some."""
        try:
            rows = ObjectTrouble.objects.values_list("class_key", "object_id", "kind")
            known = set(rows[: MOST_KNOWN + 1])
        except DatabaseError:  # worth a word only when there is something to write
            connections.close_all()
            return
        with self._lock:
            self._known = known
            self._knows_all = len(known) <= MOST_KNOWN

    def _flush(self) -> bool:
        """Write what waits; False when it has to be tried again."""
        with self._lock:
            seen, self._seen = self._seen, {}
            over, self._over = self._over, set()
        if not seen and not over:
            return True
        try:
            with transaction.atomic():
                for key, object_id, kind in over:
                    ObjectTrouble.objects.filter(class_key=key, object_id=object_id, kind=kind).delete()
                for reference, trouble in seen.items():
                    _write(reference, trouble)
        except DatabaseError as problem:
            log.warning("what is wrong with objects cannot be written, and is tried again: %s", problem)
            connections.close_all()
            self._wait_again(seen, over)
            return False
        return True

    def _wait_again(self, seen: dict[Reference, _Seen], over: set[Reference]) -> None:
        """What was not written waits on, unless something newer was said of it meanwhile."""
        with self._lock:
            newer = self._seen.keys() | self._over
            self._seen = {**{one: seen[one] for one in seen if one not in newer}, **self._seen}
            self._over |= over - newer
        self._wanted.set()


def _write(reference: Reference, seen: _Seen) -> None:
    key, object_id, kind = reference
    fresh: dict[str, Any] = {"message": seen.message, "last_at": seen.last}
    if seen.name:  # who knows an object by its id only does not make others forget its name
        fresh["name"] = seen.name
    row, made = ObjectTrouble.objects.get_or_create(
        class_key=key,
        object_id=object_id,
        kind=kind,
        defaults={**fresh, "first_at": seen.first, "times": seen.times},
    )
    if not made:
        ObjectTrouble.objects.filter(pk=row.pk).update(**fresh, times=F("times") + seen.times)
