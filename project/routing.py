"""What is mounted ahead of Django: every app's hot HTTP endpoints and sockets, in order."""

from typing import Any

from counters import routing as counters
from durable.gateway import routing as gateway
from limiter import routing as limiter
from rooms import routing as rooms

from . import openapi

http_urlpatterns: list[Any] = [
    *counters.http_urlpatterns,
    *limiter.http_urlpatterns,
    *rooms.http_urlpatterns,
    *gateway.http_urlpatterns,
    *openapi.http_urlpatterns,
]
websocket_urlpatterns: list[Any] = [*rooms.websocket_urlpatterns]
