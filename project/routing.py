"""What is mounted ahead of Django: every app's hot HTTP endpoints and sockets, in order."""

from typing import Any

from django.urls import re_path

from counters import routing as counters
from durable.gateway import routing as gateway
from durable.gateway.api_docs import ApiDocs, OpenApi
from durable.inspector import routing as inspector
from limiter import routing as limiter
from rooms import routing as rooms

from . import openapi

http_urlpatterns: list[Any] = [
    *counters.http_urlpatterns,
    *limiter.http_urlpatterns,
    *rooms.http_urlpatterns,
    *inspector.http_urlpatterns,
    *gateway.http_urlpatterns,
    re_path(r"^api/v1/openapi\.json$", OpenApi.as_asgi(describe=openapi.describe)),
    re_path(r"^api/v1/docs$", ApiDocs.as_asgi(title=openapi.TITLE, document_url=openapi.DOCUMENT_PATH)),
]
websocket_urlpatterns: list[Any] = [*rooms.websocket_urlpatterns]
