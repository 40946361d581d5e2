"""Django's view of the runtime: its name, the discovery of every app's `objects` module, and its system checks."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules


class DurableConfig(AppConfig):
    """Imports `objects.py` of each installed app, as the admin does with `admin.py`."""

    name = "durable"
    verbose_name = "Durable objects"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Discover the classes of objects, and have them checked."""
        from . import checks  # it needs the models, which are not there yet when this module is imported

        autodiscover_modules("objects")
        for check in (checks.check_settings, checks.check_classes, checks.check_stored_classes):
            register(check)
