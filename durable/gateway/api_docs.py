"""The API's description, for programs as OpenAPI and for people as a page that needs nothing from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from html import escape
from typing import Any

from django.templatetags.static import static

from .bodies import encode
from .http import HttpConsumer, Request, Response

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# Swagger UI as django-ninja bundles it: its start script reads these settings, so the page has no script of its own.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
</head>
<body data-csrf-token="" data-api-csrf="">
<script type="application/json" id="swagger-settings">{settings}</script>
<main id="swagger-ui"></main>
<script src="{bundle}"></script>
<script src="{start}"></script>
</body>
</html>
"""


class OpenApi(HttpConsumer):
    """Serves the OpenAPI document that `describe` makes, once."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._describe = describe

    @cached_property
    def _document(self) -> tuple[bytes, bytes]:
        body = encode(self._describe())
        return body, b'"%s"' % hashlib.sha256(body).hexdigest()[:16].encode()

    async def get(self, request: Request) -> Response:
        """The document; 304 when If-None-Match names it."""
        body, tag = self._document
        headers = [(b"etag", tag), (b"cache-control", b"no-cache")]
        if tag in request.headers.get(b"if-none-match", b""):
            return Response(304, headers=headers)
        return Response(200, body, [(b"content-type", b"application/json"), *headers])


class ApiDocs(HttpConsumer):
    """Serves a page to read the document at `document_url` and to try it out."""

    def __init__(self, title: str, document_url: str) -> None:
        super().__init__()
        self._title = title
        self._document_url = document_url

    async def get(self, _request: Request) -> Response:
        """The page."""
        settings = {"url": self._document_url, "layout": "BaseLayout", "deepLinking": True}
        page = _PAGE.format(
            title=escape(self._title),
            settings=encode(settings).decode().replace("<", "\\u003c"),
            style=escape(static("ninja/swagger-ui.css")),
            bundle=escape(static("ninja/swagger-ui-bundle.js")),
            start=escape(static("ninja/swagger-ui-init.js")),
        )
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", _POLICY),
            (b"cache-control", b"no-cache"),
        ]
        return Response(200, page.encode(), headers)
