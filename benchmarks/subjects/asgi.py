"""The project's ASGI application with one more socket, and one more path for relays: behind as many layers, and tried last."""

from typing import Any

from django.urls import re_path

from durable.gateway.paths import Application
from project.asgi import catch_all, django_application, no_such_socket
from project.routing import http_urlpatterns, websocket_urlpatterns
from rooms.consumers import RoomConsumer

from .consumers import RelayConsumer, SubjectSocket
from .limits import FRAME_RATE

# Or few members could not say as much as a room can carry.
RoomConsumer.frame_rate = (2 * int(FRAME_RATE), FRAME_RATE)

http: list[Any] = [
    *http_urlpatterns,
    re_path(r"^api/v1/relays/(?P<name>[^/]+)/increment$", RelayConsumer.as_asgi()),
    catch_all(django_application),
]
websocket: list[Any] = [
    *websocket_urlpatterns,
    re_path(r"^ws/subject/(?P<name>[^/]+)$", SubjectSocket.as_asgi()),
    catch_all(no_such_socket),
]
application = Application(http=http, websocket=websocket)
