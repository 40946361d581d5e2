"""The counters' part of the OpenAPI document."""

from __future__ import annotations

from durable.gateway.openapi import Paths, Schema, answer, body_schemas, header, operation, parameter, ref

from .batch import Batch
from .consumers import DEFAULT_PAGE, MAX_NAME, MAX_PAGE, Increment, Value

_TAG = "Counters"
_NAME = parameter(
    "name",
    "path",
    f"1 to {MAX_NAME} characters; a slash is written %2F.",
    {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
)
_ETAG = {"ETag": header('The version: `"v<version>"`.')}
_IF_MATCH = parameter(
    "If-Match", "header", "Only at one of these versions; `*`: only if it was ever touched."
)
_COUNTER = answer("The counter.", ref("Counter"), headers=_ETAG)
_TEXT: Schema = {"type": "string"}

SCHEMAS: dict[str, Schema] = {
    **body_schemas([Increment, Value, Batch]),
    "Counter": {
        "type": "object",
        "required": ["name", "value", "version", "updated_at"],
        "properties": {
            "name": {"type": "string"},
            "value": {"type": "integer", "format": "int64"},
            "version": {"type": "integer", "description": "Grows by one with each change; 0: never touched."},
            "updated_at": {"type": ["string", "null"], "format": "date-time"},
        },
    },
    "BatchResult": {
        "type": "object",
        "required": ["status", "name"],
        "description": "The members of a counter when all was well, `code` and `detail` when not.",
        "properties": {
            "status": {"type": "integer", "description": "What the operation would have answered by itself."},
            "name": {"type": "string"},
            "value": {"type": "integer", "format": "int64"},
            "version": {"type": "integer"},
            "updated_at": {"type": ["string", "null"], "format": "date-time"},
            "replayed": {
                "type": "boolean",
                "description": "This is an earlier answer to its idempotency key.",
            },
            "code": {"type": "string"},
            "detail": {"type": "string"},
        },
    },
    "CounterPage": {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": ref("Counter")},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page."},
        },
    },
}

PATHS: Paths = {
    "/api/v1/counters": {
        "get": operation(
            "List counters",
            {200: answer("A page, in order of name.", ref("CounterPage"))},
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            parameters=[
                parameter("prefix", "query", "Only names that begin with this, by case."),
                parameter("cursor", "query", "`next` of the page before."),
                parameter(
                    "limit",
                    "query",
                    "Counters a page.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
                ),
            ],
            description="The list is written behind: a counter made in the last seconds may be missing.",
        ),
    },
    "/api/v1/counters:batch": {
        "post": operation(
            "Many operations at once",
            {
                200: answer(
                    "A result for each operation, in order.",
                    {
                        "type": "object",
                        "required": ["results"],
                        "properties": {"results": {"type": "array", "items": ref("BatchResult")}},
                    },
                )
            },
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            body=Batch,
            description="Not atomic across counters: each operation succeeds or fails by itself, with a `status` of "
            "its own. Those on one counter run in their order.",
        ),
    },
    "/api/v1/counters/{name}": {
        "parameters": [_NAME],
        "get": operation(
            "Read a counter",
            {200: _COUNTER, 304: answer("It is still at the version of If-None-Match.", headers=_ETAG)},
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            parameters=[parameter("If-None-Match", "header", "Versions the caller has.")],
            description="A counter that nobody has touched is 0 at version 0; reading it creates nothing.",
        ),
        "put": operation(
            "Set a counter",
            {200: _COUNTER},
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            body=Value,
            parameters=[
                _IF_MATCH,
                parameter("If-None-Match", "header", "`*`: only if nobody has touched it.", {"const": "*"}),
            ],
            problems=[412],
        ),
        "delete": operation(
            "Forget a counter",
            {204: answer("It is 0 again; its storage is gone.")},
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            parameters=[_IF_MATCH],
            problems=[412],
        ),
    },
    "/api/v1/counters/{name}/increment": {
        "parameters": [_NAME],
        "post": operation(
            "Add to a counter",
            {
                200: answer(
                    "The counter after it.",
                    ref("Counter"),
                    headers={
                        **_ETAG,
                        "Idempotent-Replayed": header("`true` when this is an earlier answer."),
                    },
                )
            },
            tag=_TAG,
            scope="counters",
            may_be_open=True,
            body=Increment,
            body_required=False,
            parameters=[
                parameter(
                    "Idempotency-Key",
                    "header",
                    "1 to 255 visible ASCII characters, kept for 24 hours (the newest 10,000 a counter). A request "
                    "repeated with its key counts once; a refused one leaves its key unused.",
                )
            ],
            problems=[409],
            description="409 when the result would leave `min`, `max` or 64 bits; nothing is changed then.",
        ),
    },
    "/demo/increment": {
        method: operation(
            "The tutorial's counter, counted up",
            {200: answer("`Count: 1`", _TEXT, media="text/plain")},
            tag="Demonstrations",
        )
        for method in ("get", "post")
    },
    "/demo/": {
        "get": operation(
            "The tutorial's counter, looked at",
            {200: answer("`Current count: 1`", _TEXT, media="text/plain")},
            tag="Demonstrations",
        ),
    },
}
