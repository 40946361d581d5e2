"""The ASGI application: hot endpoints and sockets by Channels' URLRouter, everything else by Django.

What is routed here never enters Django's handler, whose middleware costs more than the work of a counter.
Routes match the percent-encoded path, so that an encoded slash stays part of a name.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()  # loads the apps; the imports below need them

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from .routing import http_urlpatterns, websocket_urlpatterns

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class RawPath:
    """Gives the router the path as it came, percent-encoded, in `scope["path_remaining"]`."""

    def __init__(self, router: Any) -> None:
        self.router = router

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Route one connection. What to await is the router's: one layer less for each request."""
        raw = scope.get("raw_path")
        path = raw.decode("latin-1").partition("?")[0] if raw else scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        scope["path_remaining"] = path  # in place: a copy would live as long as the connection
        routed: Awaitable[None] = self.router(scope, receive, send)
        return routed


async def no_such_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept a WebSocket that no route knows, and close it with 4404: a refused handshake tells a browser nothing."""
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4404, "reason": "no such socket"})


def catch_all(target: Any) -> Any:
    """A last route that takes every path. Channels routes ASGI applications, which Django's types do not know."""
    return re_path(r"", target)


application = ProtocolTypeRouter(
    {
        "http": RawPath(URLRouter([*http_urlpatterns, catch_all(django_application)])),
        "websocket": RawPath(URLRouter([*websocket_urlpatterns, catch_all(no_such_socket)])),
    }
)
