"""The Django app of counters: no models of its own, every counter is an object."""

from django.apps import AppConfig


class CountersConfig(AppConfig):
    """Names the app."""

    name = "counters"
    verbose_name = "Counters"
