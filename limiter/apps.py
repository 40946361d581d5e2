"""The Django app of the rate limiter: policies are rows, what is counted is in objects."""

from django.apps import AppConfig


class LimiterConfig(AppConfig):
    """Names the app."""

    name = "limiter"
    verbose_name = "Rate limiter"
    default_auto_field = "django.db.models.BigAutoField"
