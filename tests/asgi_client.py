"""An HTTP client that speaks to routes in this process, through the same router and raw path as the real entry point."""

from typing import Any

import httpx
from django.urls import re_path

from durable.gateway.http import ApiNotFound
from durable.gateway.paths import PathRouter


def asgi_client(patterns: list[Any], address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
    """A client at `address` for routes; what they do not take is answered as under /api/v1/."""
    app = PathRouter([*patterns, re_path(r"", ApiNotFound.as_asgi())])
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", **options)


def raw(path: str) -> httpx.URL:
    """A URL whose path is sent exactly as it stands."""
    return httpx.URL("http://localhost", raw_path=path.encode("latin-1"))
