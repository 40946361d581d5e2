"""What is mounted ahead of Django: every app's hot HTTP endpoints and sockets, in order."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

http_urlpatterns: list[Any] = []
websocket_urlpatterns: list[Any] = []

for app in ("durable.gateway", "counters", "limiter", "rooms"):
    if find_spec(f"{app}.routing") is not None:
        module = import_module(f"{app}.routing")
        http_urlpatterns += getattr(module, "http_urlpatterns", [])
        websocket_urlpatterns += getattr(module, "websocket_urlpatterns", [])
