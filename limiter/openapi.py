"""The limiter's part of the OpenAPI document."""

from __future__ import annotations

from durable.gateway.openapi import Paths, Schema, answer, body_schemas, header, operation, parameter, ref

from .consumers import MAX_KEY, CheckBody, KeyBody, PolicyBody
from .logic import ALGORITHMS
from .models import NAME_PATTERN

_TAG = "Limiter"
_POLICY = parameter(
    "policy", "path", "The policy's name.", {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
)
_LIMITS = {
    "RateLimit-Policy": header('E.g. `"login";q=100;w=60`: the limit, and the window in seconds.'),
    "RateLimit": header('E.g. `"login";r=50;t=30`: what remains, and the seconds until all of it is back.'),
}
_REFUSED = {**_LIMITS, "Retry-After": header("Seconds until it would be admitted.", "integer")}
_BOUNDS = """\
The bound each algorithm keeps, over any window that begins anywhere:

- `sliding_window`: never more than `limit`, exactly.
- `gcra`, `token_bucket`: at most `burst + limit - 1`; with `burst` = `limit` (the default) almost twice the limit.
- `fixed_window`: never more than `limit` in a window of the calendar, so up to twice that across a boundary.

`concurrency` is not supported yet. Keys are spread over `shards` objects; changing `shards` lets every key begin anew."""

SCHEMAS: dict[str, Schema] = {
    **body_schemas([PolicyBody, CheckBody, KeyBody]),
    "Policy": {
        "type": "object",
        "required": ["name", "algorithm", "limit", "window_seconds", "burst", "shards"],
        "properties": {
            "name": {"type": "string"},
            "algorithm": {"enum": list(ALGORITHMS)},
            "limit": {"type": "integer"},
            "window_seconds": {"type": "integer"},
            "burst": {"type": ["integer", "null"]},
            "shards": {"type": "integer"},
            "created_at": {"type": ["string", "null"], "format": "date-time"},
            "updated_at": {"type": ["string", "null"], "format": "date-time"},
            "built_in": {"type": "boolean"},
        },
    },
    "Decision": {
        "type": "object",
        "required": ["allowed", "limit", "remaining", "reset_after", "retry_after", "policy", "key"],
        "properties": {
            "allowed": {"type": "boolean"},
            "limit": {"type": "integer"},
            "remaining": {"type": "integer", "description": "Cost that would still be admitted."},
            "reset_after": {"type": "number", "description": "Seconds until the key is as if never used."},
            "retry_after": {
                "type": "number",
                "description": "Seconds until this cost would be admitted; 0 when it was.",
            },
            "policy": {"type": "string"},
            "key": {"type": "string"},
        },
    },
}

_NOT_OPEN = (
    "A policy always needs a token, or the session of a staff user who is permitted this in the admin."
)

PATHS: Paths = {
    "/api/v1/limiters/{policy}": {
        "parameters": [_POLICY],
        "get": operation(
            "Read a policy",
            {200: answer("The policy.", ref("Policy"))},
            tag=_TAG,
            scope="limiter",
            problems=[404],
            objects=False,
            description=_NOT_OPEN,
        ),
        "put": operation(
            "Make or replace a policy",
            {200: answer("Replaced.", ref("Policy")), 201: answer("Made.", ref("Policy"))},
            tag=_TAG,
            scope="limiter",
            body=PolicyBody,
            objects=False,
            description=f"Counts within a second, for keys in use as well.\n\n{_BOUNDS}\n\n{_NOT_OPEN}",
        ),
        "delete": operation(
            "Delete a policy",
            {204: answer("Deleted. What was counted under it expires by itself.")},
            tag=_TAG,
            scope="limiter",
            problems=[404, 409],
            objects=False,
            description=_NOT_OPEN,
        ),
    },
    "/api/v1/limiters/{policy}/check": {
        "parameters": [_POLICY],
        "post": operation(
            "Admit or refuse a request",
            {
                200: answer("Admitted.", ref("Decision"), headers=_LIMITS),
                429: answer("Refused; it does not count.", ref("Decision"), headers=_REFUSED),
            },
            tag=_TAG,
            scope="limiter",
            may_be_open=True,
            body=CheckBody,
            problems=[404],
            description="A `cost` of 0 looks without counting.",
        ),
    },
    "/api/v1/limiters/{policy}/gate": {
        "parameters": [_POLICY],
        "get": operation(
            "A check for proxies",
            {
                204: answer("Admitted.", headers=_LIMITS),
                429: answer("Refused; it does not count.", ref("Decision"), headers=_REFUSED),
            },
            tag=_TAG,
            scope="limiter",
            may_be_open=True,
            parameters=[
                parameter(
                    "key",
                    "query",
                    "Whom to count for; left out: the client's address (IPv6 by its /64).",
                    {"type": "string", "maxLength": MAX_KEY},
                ),
                parameter("cost", "query", "Default 1.", {"type": "integer", "minimum": 0}),
            ],
            problems=[404, 422],
        ),
    },
    "/api/v1/limiters/{policy}/reset": {
        "parameters": [_POLICY],
        "post": operation(
            "Forget a key",
            {204: answer("It begins anew.")},
            tag=_TAG,
            scope="limiter",
            may_be_open=True,
            body=KeyBody,
            problems=[404],
        ),
    },
    "/demo/limited": {
        "get": operation(
            "The tutorial's limited page",
            {
                200: answer("`OK`", {"type": "string"}, media="text/plain", headers=_LIMITS),
                429: answer(
                    "`Rate limit exceeded`", {"type": "string"}, media="text/plain", headers=_REFUSED
                ),
            },
            tag="Demonstrations",
            description="100 times in any 60 seconds for one client address.",
        ),
    },
}
