"""The ASGI application: hot endpoints and sockets by Channels' router, everything else by Django.

What is routed here never enters Django's handler, whose middleware costs more than the work of a counter.
Routes match the percent-encoded path, so that an encoded slash stays part of a name.
"""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()  # loads the apps; the imports below need them

from django.urls import re_path

from durable.gateway.paths import Application, Receive, Scope, Send

from .routing import http_urlpatterns, websocket_urlpatterns


async def no_such_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept a WebSocket that no route knows, and close it with 4404: a refused handshake tells a browser nothing."""
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4404, "reason": "no such socket"})


def catch_all(target: Any) -> Any:
    """A last route that takes every path. Channels routes ASGI applications, which Django's types do not know."""
    return re_path(r"", target)


application = Application(
    http=[*http_urlpatterns, catch_all(django_application)],
    websocket=[*websocket_urlpatterns, catch_all(no_such_socket)],
)
