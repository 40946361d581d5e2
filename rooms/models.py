"""The directory of rooms in Django's database; what is said and drawn in a room is in its durable object."""

import secrets
import unicodedata
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SLUG_LENGTH = 22
"""Letters of a slug: 22 of 58 are 128.8 random bits, so that an address cannot be guessed."""
MAX_TITLE = 200


def new_slug() -> str:
    """A random address that nobody can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(SLUG_LENGTH))


def clean_title(title: str) -> str:
    """One line without control characters; raises ValueError with a text for people when nothing or too much is left."""
    normal = unicodedata.normalize("NFC", title[: 4 * MAX_TITLE])
    kept = "".join(" " if char.isspace() else char for char in normal)
    clean = " ".join(
        "".join(char for char in kept if unicodedata.category(char) not in {"Cc", "Cf", "Cs"}).split()
    )
    if not clean:
        raise ValueError("Give the room a title.")
    if len(clean) > MAX_TITLE:
        raise ValueError(f"A title has at most {MAX_TITLE} characters.")
    return clean


class RoomEntry(models.Model):
    """One room: its address, its title and who made it."""

    slug = models.CharField(max_length=64, unique=True, default=new_slug, editable=False)
    title = models.CharField(max_length=MAX_TITLE)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        """Newest first."""

        verbose_name = "room"
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        """The room's page."""
        return reverse("rooms:room", args=[self.slug])


def create_room(title: str, created_by: Any = None) -> RoomEntry:
    """Add a room to the directory; raises ValueError when the title will not do."""
    return RoomEntry.objects.create(title=clean_title(title), created_by=created_by)
