"""The Django app of rooms."""

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """Names the app."""

    name = "rooms"
