"""The Django app of limiter."""

from django.apps import AppConfig


class LimiterConfig(AppConfig):
    """Names the app."""

    name = "limiter"
