"""Routes of the gateway itself, mounted ahead of Django."""

from typing import Any

from django.urls import re_path

from .health import Livez, Metrics, Readyz

http_urlpatterns: list[Any] = [
    re_path(r"^livez$", Livez.as_asgi()),
    re_path(r"^readyz$", Readyz.as_asgi()),
    re_path(r"^metrics$", Metrics.as_asgi()),
]
