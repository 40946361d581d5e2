"""The description of the whole REST API, put together from what each app says of its own endpoints."""

from __future__ import annotations

from typing import Any

from counters import openapi as counters
from durable.gateway.openapi import Paths, answer, openapi_document, operation
from durable.inspector import openapi as inspector
from limiter import openapi as limiter
from rooms import openapi as rooms

TITLE = "Durable Rooms"
VERSION = "1"
DOCUMENT_PATH = "/api/v1/openapi.json"
DESCRIPTION = """\
Counters, rate limits and rooms, each kept by one durable object.

Bodies are JSON. Refusals are `application/problem+json` (RFC 9457); `code` is meant for programs. A token goes into
`Authorization: Bearer <token>`; `manage.py api_token create NAME --scopes ...` makes one. Every answer carries
`X-Request-ID`: the caller's own, or a new one. A 503 with `Retry-After` means that nothing was done and may be repeated;
without it, nobody knows whether it was done."""

_TAG = "Service"

PATHS: Paths = {
    DOCUMENT_PATH: {
        "get": operation(
            "This document", {200: answer("OpenAPI 3.1.", {"type": "object"})}, tag=_TAG, objects=False
        )
    },
    "/api/v1/docs": {
        "get": operation(
            "This document for people",
            {200: answer("A page.", {"type": "string"}, media="text/html")},
            tag=_TAG,
            objects=False,
        )
    },
    "/livez": {
        "get": operation(
            "Whether the process answers",
            {200: answer("It does.", {"type": "string"}, media="text/plain")},
            tag=_TAG,
            objects=False,
        )
    },
    "/readyz": {
        "get": operation(
            "Whether requests can be served",
            {
                status: answer(text, {"type": "object", "properties": {"ready": {"type": "boolean"}}})
                for status, text in ((200, "They can."), (503, "They cannot; the members say what is wrong."))
            },
            tag=_TAG,
            objects=False,
        )
    },
    "/metrics": {
        "get": operation(
            "Numbers for Prometheus",
            {200: answer("Prometheus's text format.", {"type": "string"}, media="text/plain")},
            tag=_TAG,
            scope="objects",
            objects=False,
            description="Needs no token from the machine itself.",
        )
    },
}


def describe() -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi_document(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        paths={**counters.PATHS, **limiter.PATHS, **rooms.PATHS, **inspector.PATHS, **PATHS},
        schemas={**counters.SCHEMAS, **limiter.SCHEMAS, **rooms.SCHEMAS, **inspector.SCHEMAS},
    )
