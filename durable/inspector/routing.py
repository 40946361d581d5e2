"""Routes of the REST endpoints about objects, matched against the raw path; names arrive percent-encoded."""

from typing import Any

from django.urls import re_path

from .consumers import CallConsumer, ExportConsumer, ObjectConsumer, ObjectsConsumer, WorkersConsumer

_OBJECT = r"^api/v1/objects/(?P<class>[^/]+)/(?P<name>[^/]+)"

http_urlpatterns: list[Any] = [
    re_path(_OBJECT + r"/call/(?P<method>[^/]+)$", CallConsumer.as_asgi()),
    re_path(_OBJECT + r"/export$", ExportConsumer.as_asgi()),
    re_path(_OBJECT + r"$", ObjectConsumer.as_asgi()),
    re_path(r"^api/v1/objects$", ObjectsConsumer.as_asgi()),
    re_path(r"^api/v1/workers$", WorkersConsumer.as_asgi()),
]
