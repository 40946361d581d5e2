"""The words an OpenAPI 3.1 document is written in, so that each app describes its endpoints in a few lines.

Bodies are described by the very structs that check them; everything else is written by hand, and a test compares the
document with the routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

Schema = dict[str, Any]
Operation = dict[str, Any]
Paths = dict[str, dict[str, Any]]

_REF = "#/components/schemas/"
_ALWAYS = (400, 405)
_WITH_TOKEN = (401, 403)
_WITH_BODY = (413, 415, 422)
_OF_OBJECTS = (503,)

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457. Further members say more, e.g. `errors` names the offending members of a body.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "A stable word for programs."},
        "request_id": {"type": "string", "description": "Also in the X-Request-ID header."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer into the body."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def ref(name: str) -> Schema:
    """The schema of that name among the document's components."""
    return {"$ref": _REF + name}


def parameter(name: str, where: str, description: str, schema: Schema | None = None) -> dict[str, Any]:
    """A parameter: `where` is path, query or header. Only those of the path are required."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": schema or {"type": "string"},
    }


def header(description: str, kind: str = "string") -> dict[str, Any]:
    """A response header."""
    return {"description": description, "schema": {"type": kind}}


def answer(
    description: str,
    schema: Schema | None = None,
    *,
    media: str = "application/json",
    headers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A response; without a schema it has no body."""
    found: dict[str, Any] = {"description": description}
    if headers:
        found["headers"] = dict(headers)
    if schema is not None:
        found["content"] = {media: {"schema": schema}}
    return found


def operation(
    summary: str,
    answers: Mapping[int, dict[str, Any]],
    *,
    tag: str,
    scope: str | None = None,
    may_be_open: bool = False,
    body: type[msgspec.Struct] | None = None,
    body_required: bool = True,
    parameters: Iterable[dict[str, Any]] = (),
    problems: Iterable[int] = (),
    objects: bool = True,
    description: str = "",
) -> Operation:
    """One method of one path.

    Args:
        summary: a few words.
        answers: what it answers when all is well, by status.
        tag: the group it is listed in.
        scope: the token scope it needs, if any.
        may_be_open: nobody needs a token where API_AUTH=open.
        body: the struct that checks the body.
        body_required: an empty body will not do.
        parameters: of query and headers.
        problems: statuses of problems beyond those that follow from the rest.
        objects: it asks objects, which may be too busy.
        description: more, in Markdown.
    """
    found: Operation = {"summary": summary, "tags": [tag], "responses": {}}
    text = [description] if description else []
    statuses = {*_ALWAYS, *problems, *(_OF_OBJECTS if objects else ())}
    if scope is not None:
        text.append(f"Token scope: `{scope}`.")
        found["security"] = [{"bearer": []}, *([{}] if may_be_open else [])]
        statuses.update(_WITH_TOKEN)
    if text:
        found["description"] = "\n\n".join(text)
    if body is not None:
        found["requestBody"] = {
            "required": body_required,
            "content": {"application/json": {"schema": ref(body.__name__)}},
        }
        statuses.update(_WITH_BODY)
    listed = list(parameters)
    if listed:
        found["parameters"] = listed
    found["responses"] = {str(status): response for status, response in sorted(answers.items())}
    for status in sorted(statuses):
        found["responses"].setdefault(
            str(status),
            {
                "description": HTTPStatus(status).phrase,
                "content": {"application/problem+json": {"schema": ref("Problem")}},
            },
        )
    return found


def body_schemas(structs: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """The schemas of structs that check bodies, by name."""
    _, components = msgspec.json.schema_components(structs, ref_template=_REF + "{name}")
    return dict(components)


def openapi_document(
    *, title: str, version: str, description: str, paths: Paths, schemas: Mapping[str, Schema]
) -> dict[str, Any]:
    """The whole document. Every operation gets an id made of its method and path."""
    for path, item in paths.items():
        for method, found in item.items():
            if method != "parameters":
                words = (
                    path.replace("/api/v1", "").replace("{", "").replace("}", "").replace(".", "/").split("/")
                )
                found["operationId"] = "_".join([method, *filter(None, words)])
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, **schemas},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }
