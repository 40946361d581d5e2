"""The project, with what is measured; nothing else about it is changed."""

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.subjects"]
ASGI_APPLICATION = "benchmarks.subjects.asgi.application"
