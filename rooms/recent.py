"""The rooms a browser visited last, in a signed cookie: ten at most, the newest first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from django.conf import settings
from django.core import signing
from django.http import HttpResponse

from .models import RoomEntry

COOKIE = "recent_rooms"
COOKIE_AGE = 365 * 24 * 3600
LIMIT = 10
_SALT = "rooms.recent"


@dataclass(frozen=True)
class RecentRooms:
    """Pairs of slug and time of the last visit (seconds since the epoch)."""

    visits: tuple[tuple[str, int], ...] = ()

    @classmethod
    def read(cls, cookies: Mapping[str, str]) -> Self:
        """What the cookie says; empty when it is missing or not ours."""
        try:
            visits = signing.loads(cookies[COOKIE], salt=_SALT)
            return cls(tuple((str(slug), int(at)) for slug, at in visits)[:LIMIT])
        except (KeyError, signing.BadSignature, TypeError, ValueError):
            return cls()

    def with_visit(self, slug: str, at: int | None = None) -> RecentRooms:
        """The same with this room in front."""
        others = tuple(visit for visit in self.visits if visit[0] != slug)
        return RecentRooms(((slug, int(time.time()) if at is None else at), *others)[:LIMIT])

    def write(self, response: HttpResponse) -> None:
        """Put it into the browser."""
        response.set_cookie(
            COOKIE,
            signing.dumps(self.visits, salt=_SALT, compress=True),
            max_age=COOKIE_AGE,
            httponly=True,
            samesite="Lax",
            secure=settings.SESSION_COOKIE_SECURE,
        )

    def listing(self) -> list[dict[str, Any]]:
        """Entries for the landing page, without rooms that are gone."""
        found = {
            entry.slug: entry
            for entry in RoomEntry.objects.filter(slug__in=[slug for slug, _ in self.visits])
        }
        return [
            {
                "slug": slug,
                "title": found[slug].title,
                "url": found[slug].get_absolute_url(),
                "visited": datetime.fromtimestamp(at, UTC),
            }
            for slug, at in self.visits
            if slug in found
        ]
