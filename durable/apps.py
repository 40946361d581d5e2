"""Django's view of the runtime: its name, the discovery of every app's `objects` module, and its system checks."""

import sys
from pathlib import Path

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules

from durable.client import home
from durable.service.attach import settings_of_running_service


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
        if _is_command():
            # A project's own commands, and its shell, reach the service that runs on the data directory.
            home.read_settings_with(settings_of_running_service)


def _is_command() -> bool:
    """Whether `manage.py` runs something other than tests, which must never reach a live service by themselves."""
    return Path(sys.argv[0]).name == "manage.py" and sys.argv[1:2] != ["test"]
