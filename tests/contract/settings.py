"""The project with the suite's object class, and a path for its sockets."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.contract.subject"]
ASGI_APPLICATION = "tests.contract.asgi.application"
