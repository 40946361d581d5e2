"""Django's view of the runtime: its name, and the discovery of every app's `objects` module."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class DurableConfig(AppConfig):
    """Imports `objects.py` of each installed app, as the admin does with `admin.py`."""

    name = "durable"
    verbose_name = "Durable objects"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Discover the classes of objects."""
        autodiscover_modules("objects")
