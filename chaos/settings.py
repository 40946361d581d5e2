"""The project as the chaos instrument runs it: with its probe, leases of a few seconds, and objects that sleep soon."""

from project.settings import *  # noqa: F403
from project.settings import DURABLE, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "chaos.probe"]
DURABLE = {**DURABLE, "idle_seconds": 2.0, "lease_ttl": 4.0, "lease_renew": 1.0, "lease_margin": 0.5}
