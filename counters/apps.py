"""The Django app of counters."""

from django.apps import AppConfig


class CountersConfig(AppConfig):
    """Names the app."""

    name = "counters"
