"""The project with an object class to probe it by, and times short enough to wait for."""

from project.settings import *  # noqa: F403
from project.settings import DURABLE, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.cluster.probe"]
DURABLE = {**DURABLE, "idle_seconds": 0.5, "lease_ttl": 2.0, "lease_renew": 0.4, "lease_margin": 0.3}
