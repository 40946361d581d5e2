"""The objects' part of the OpenAPI document."""

from __future__ import annotations

from durable.gateway.openapi import Paths, Schema, answer, body_schemas, operation, parameter, ref
from durable.runtime.troubles import TroubleKind

from .consumers import DEFAULT_PAGE, MAX_PAGE, Call

_TAG = "Objects"
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_MS: Schema = {"type": ["integer", "null"], "description": "Milliseconds since the epoch."}
_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_WORKER: dict[str, Schema] = {"worker": _TEXT, "pid": _NUMBER, "host": _TEXT}
_OBJECT = [
    parameter("class", "path", "The class's key, such as `Counter`."),
    parameter("name", "path", "The object's name, percent-encoded, or its id of 64 hex digits."),
]

SCHEMAS: dict[str, Schema] = {
    **body_schemas([Call]),
    "ObjectRecord": {
        "type": "object",
        "properties": {
            "class": _TEXT,
            "name": {"type": ["string", "null"], "description": "Null for an object that has only an id."},
            "id": _TEXT,
            "created_at": _TIME,
            "last_active_at": _TIME,
            "storage_bytes": _NUMBER,
            "alarm": _MS,
        },
    },
    "ObjectState": {
        "type": "object",
        "properties": {
            "class": _TEXT,
            "name": {"type": ["string", "null"]},
            "id": _TEXT,
            "state": {"enum": ["active", "asleep", "absent"]},
            "owner": {
                "type": ["object", "null"],
                "properties": _WORKER,
                "description": "Null unless active.",
            },
            "epoch": {"type": ["integer", "null"], "description": "Grows with every new owner."},
            "sockets": _NUMBER,
            "alarm": _MS,
            "alarm_retries": _NUMBER,
            "alarm_error": {"type": ["string", "null"], "description": "Why the last alarm failed."},
            "storage_bytes": _NUMBER,
            "queue_depth": _NUMBER,
            "running": {"type": ["string", "null"], "description": "The event that runs at the moment."},
            "created_at": _TIME,
            "last_active_at": _TIME,
            "sockets_list": {
                "type": "array",
                "description": "The first hundred.",
                "items": {
                    "type": "object",
                    "properties": {"id": _TEXT, "gateway": _TEXT, "tags": {"type": "array", "items": _TEXT}},
                },
            },
            "problem": {"type": ["string", "null"], "description": "What kept us from knowing more."},
            "troubles": {
                "type": "array",
                "description": "What is wrong with it, as its workers have seen it.",
                "items": {
                    "type": "object",
                    "properties": {
                        "kind": {"enum": [kind.value for kind in TroubleKind]},
                        "message": _TEXT,
                        "first_at": _TIME,
                        "last_at": _TIME,
                        "times": _NUMBER,
                    },
                },
            },
        },
    },
    "Worker": {
        "type": "object",
        "properties": {
            **_WORKER,
            "state": {"enum": ["serving", "draining"]},
            "objects": _NUMBER,
            "code": _TEXT,
        },
    },
}

PATHS: Paths = {
    "/api/v1/objects": {
        "get": operation(
            "List objects",
            {
                200: answer(
                    "A page, in order of class, name and id.",
                    {
                        "type": "object",
                        "required": ["items", "next"],
                        "properties": {
                            "items": {"type": "array", "items": ref("ObjectRecord")},
                            "next": {
                                "type": ["string", "null"],
                                "description": "The cursor of the next page.",
                            },
                        },
                    },
                )
            },
            tag=_TAG,
            scope="objects",
            objects=False,
            problems=[404],
            parameters=[
                parameter("class", "query", "Only this class."),
                parameter("prefix", "query", "Only names that begin with this, by case."),
                parameter("cursor", "query", "`next` of the page before."),
                parameter(
                    "limit",
                    "query",
                    "Objects a page.",
                    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
                ),
            ],
            description="The list is written behind: an object made in the last seconds may be missing. "
            "Objects without storage are not listed.",
        )
    },
    "/api/v1/objects/{class}/{name}": {
        "parameters": _OBJECT,
        "get": operation(
            "Look at an object",
            {200: answer("Everything but its contents.", ref("ObjectState"))},
            tag=_TAG,
            scope="objects",
            problems=[404],
            description="Looking wakes nothing and creates nothing; an object that does not exist is `absent`.",
        ),
    },
    "/api/v1/objects/{class}/{name}/export": {
        "parameters": _OBJECT,
        "get": operation(
            "Export an object",
            {
                200: answer(
                    "A plain SQLite file with all that the object stores.",
                    {"type": "string", "format": "binary"},
                    media="application/vnd.sqlite3",
                )
            },
            tag=_TAG,
            scope="objects",
            problems=[404, 413],
            description="An active object is copied by its owner between two events; a sleeping one is not woken.",
        ),
    },
    "/api/v1/objects/{class}/{name}/call/{method}": {
        "parameters": [*_OBJECT, parameter("method", "path", "A public method of the class.")],
        "post": operation(
            "Call a method",
            {
                200: answer(
                    "What it returned, as JSON: bytes are base64.",
                    {"type": "object", "required": ["result"], "properties": {"result": {}}},
                )
            },
            tag=_TAG,
            scope="objects",
            body=Call,
            body_required=False,
            problems=[404, 409, 500, 504],
            description="What the method raised is a problem with the code `remote_error` and its class in "
            "`error_type`: 409 when it was raised on purpose (an `ObjectError`), else 500.",
        ),
    },
    "/api/v1/workers": {
        "get": operation(
            "List workers",
            {
                200: answer(
                    "The processes that own objects.",
                    {"type": "object", "properties": {"items": {"type": "array", "items": ref("Worker")}}},
                )
            },
            tag=_TAG,
            scope="objects",
        )
    },
}
