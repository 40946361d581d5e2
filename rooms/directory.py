"""Titles by slug for sockets: looked up off the event loop, remembered for a few seconds.

A room that was just made is found at once, since nobody can have asked for its slug before; one that was deleted is forgotten in time,
and refuses by itself meanwhile.
"""

from __future__ import annotations

from channels.db import database_sync_to_async

from durable.gateway.lookups import LookupCache

from .models import RoomEntry

SECONDS = 5.0


class Directory:
    """The room directory as a gateway asks it."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._titles: LookupCache[str, str | None] = LookupCache(_load, seconds=seconds)

    async def title(self, slug: str) -> str | None:
        """The title of a room, or None when there is none by that slug."""
        return await self._titles.get(slug) if 0 < len(slug) <= 64 else None


async def _load(slug: str) -> str | None:
    title: str | None = await database_sync_to_async(_title)(slug)
    return title


def _title(slug: str) -> str | None:
    return RoomEntry.objects.filter(slug=slug).values_list("title", flat=True).first()
