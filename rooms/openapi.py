"""The rooms' part of the OpenAPI document."""

from __future__ import annotations

from durable.gateway.openapi import Paths, Schema, answer, body_schemas, header, operation, ref

from .consumers import NewRoom

SCHEMAS: dict[str, Schema] = {
    **body_schemas([NewRoom]),
    "Room": {
        "type": "object",
        "required": ["slug", "title", "url"],
        "properties": {
            "slug": {"type": "string"},
            "title": {"type": "string"},
            "url": {"type": "string", "format": "uri"},
        },
    },
}

PATHS: Paths = {
    "/api/v1/rooms": {
        "post": operation(
            "Make a room",
            {201: answer("Made.", ref("Room"), headers={"Location": header("The room's path.")})},
            tag="Rooms",
            scope="rooms",
            body=NewRoom,
            objects=False,
            description="The room's socket is `/ws/rooms/{slug}/`.",
        ),
    },
}
