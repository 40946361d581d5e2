"""An HTTP client that speaks to routes in this process, through the same router and raw path as the real entry point."""

from typing import Any

import httpx
from channels.routing import URLRouter
from django.urls import re_path

from durable.gateway.http import ApiNotFound


class RawPath:
    """Puts the raw path where the project's entry point puts it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["raw_path"].decode("latin-1")
        await self.app({**scope, "path_remaining": path}, receive, send)


def asgi_client(patterns: list[Any], address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
    """A client at `address` for routes; what they do not take is answered as under /api/v1/."""
    app = RawPath(URLRouter([*patterns, re_path(r"", ApiNotFound.as_asgi())]))
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)


def raw(path: str) -> httpx.URL:
    """A URL whose path is sent exactly as it stands."""
    return httpx.URL("http://localhost", raw_path=path.encode("latin-1"))
