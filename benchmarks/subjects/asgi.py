"""The project's ASGI application with one more socket, routed as the others are."""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from project.asgi import RawPath, catch_all
from project.asgi import application as project_application
from rooms.consumers import RoomConsumer

from .consumers import SubjectSocket
from .limits import FRAME_RATE

Scope = dict[str, Any]


async def project(
    scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Everything else is the project's."""
    await project_application(scope, receive, send)


# Or few members could not say as much as a room can carry.
RoomConsumer.frame_rate = (2 * int(FRAME_RATE), FRAME_RATE)
application = ProtocolTypeRouter(
    {
        "http": project,
        "websocket": RawPath(
            URLRouter([re_path(r"^ws/subject/(?P<name>[^/]+)$", SubjectSocket.as_asgi()), catch_all(project)])
        ),
    }
)
