"""The Django app of the rooms."""

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """Hosted rooms."""

    name = "rooms"
    verbose_name = "Rooms"
    default_auto_field = "django.db.models.BigAutoField"
