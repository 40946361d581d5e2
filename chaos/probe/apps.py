"""The Django app of the instrument: its objects, and what is done to its processes from inside."""

from __future__ import annotations

from django.apps import AppConfig

from durable.conf import durable_settings


class ProbeConfig(AppConfig):
    """Names the app, and lets faults into every process of the service under test."""

    name = "chaos.probe"
    label = "chaos_probe"

    def ready(self) -> None:
        """Install what obeys the orders of the instrument."""
        from .inside import ORDERS_NAME, Inside, Orders

        Inside(Orders(durable_settings().data_dir / ORDERS_NAME)).install()
