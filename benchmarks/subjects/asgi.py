"""The project's ASGI application with one more socket, and relays behind one more path."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from project.asgi import RawPath, catch_all
from project.asgi import application as project_application
from rooms.consumers import RoomConsumer

from .consumers import RelayConsumer, SubjectSocket
from .limits import FRAME_RATE

Scope = dict[str, Any]


Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

relays = RawPath(URLRouter([re_path(r"^api/v1/relays/(?P<name>[^/]+)/increment$", RelayConsumer.as_asgi())]))


async def project(scope: Scope, receive: Receive, send: Send) -> None:
    """Everything else is the project's, and costs no more here than there."""
    await project_application(scope, receive, send)


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """A request for a relay, or for the project."""
    await (relays if scope["path"].startswith("/api/v1/relays/") else project)(scope, receive, send)


# Or few members could not say as much as a room can carry.
RoomConsumer.frame_rate = (2 * int(FRAME_RATE), FRAME_RATE)
application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": RawPath(
            URLRouter([re_path(r"^ws/subject/(?P<name>[^/]+)$", SubjectSocket.as_asgi()), catch_all(project)])
        ),
    }
)
