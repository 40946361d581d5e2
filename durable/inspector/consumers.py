"""The REST endpoints about objects themselves: list, look, call, and the workers that own them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from durable.errors import (
    ArgumentError,
    NotCallableError,
    RemoteError,
    UnknownClassError,
    ValueRefusedError,
)
from durable.gateway.auth import require
from durable.gateway.http import HttpConsumer, Problem, Request, Response, json_response
from durable.identity import ObjectId

from .asking import aask
from .records import decode_position, encode_position, in_database, list_records
from .targets import find_class, find_object
from .values import jsonable
from .wholes import AbsentObjectError

DEFAULT_PAGE, MAX_PAGE = 50, 100
MAX_CALL_BYTES = 4 * 1024 * 1024

MAX_EXPORT_BYTES = 64 * 1024 * 1024

VIEW, OPERATE = "durable.view_objectrecord", "durable.operate_object"
VIEW_CONTENTS = "durable.view_object_contents"

_FILE = (
    (b"content-type", b"application/vnd.sqlite3"),
    (b"content-disposition", b'attachment; filename="object.sqlite3"'),
    (b"cache-control", b"no-store"),
)


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a call: the method's arguments, by position and by name."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}


_NO_ARGUMENTS = Call()


class ObjectsConsumer(HttpConsumer):
    """`/objects`: the objects that have storage, in order of class, name and id."""

    requires = require("objects", staff=VIEW)

    async def get(self, request: Request) -> Response:
        """One page, with `class`, `prefix`, `cursor` and `limit`."""
        query = request.query
        key = query.get("class") or None
        if key is not None:
            _check_class(key)
        cursor = query.get("cursor")
        try:
            after = decode_position(cursor) if cursor else None
        except ValueError:
            raise Problem(400, "bad_cursor", "This cursor is not valid; begin again without one.") from None
        limit = _page_limit(query.get("limit"))
        page = await in_database(list_records, key, prefix=query.get("prefix", ""), after=after, limit=limit)
        following = None if page.next is None else encode_position(page.next)
        return json_response({"items": [record.document() for record in page.records], "next": following})


class ObjectConsumer(HttpConsumer):
    """`/objects/{class}/{name}`: one object, which is not woken."""

    requires = require("objects", staff=VIEW)

    async def get(self, request: Request) -> Response:
        """State, owner, epoch, sockets, alarm, size and queue; an object that does not exist is `absent`."""
        target = _target(request)
        return json_response(await aask(request.principal.name, lambda inspector: inspector.show(target)))


class ExportConsumer(HttpConsumer):
    """`/objects/{class}/{name}/export`: the object as a plain SQLite file."""

    requires = require("objects", staff=VIEW_CONTENTS)

    async def get(self, request: Request) -> Response:
        """The file; 404 when nothing is stored, 413 when it is larger than one answer should be."""
        target = _target(request)
        with TemporaryDirectory(prefix="durable-export-") as folder:
            file = Path(folder) / "object.sqlite3"
            try:
                size = await aask(request.principal.name, lambda inspector: inspector.export(target, file))
            except AbsentObjectError as error:
                raise Problem(404, error.code, str(error)) from None
            if size > MAX_EXPORT_BYTES:
                raise Problem(
                    413, "export_too_large", f"The export has {size} bytes; use `manage.py objects export`."
                )
            body = await asyncio.to_thread(file.read_bytes)
        return Response(200, body, _FILE)


class CallConsumer(HttpConsumer):
    """`/objects/{class}/{name}/call/{method}`: call a method as code does."""

    requires = require("objects", staff=OPERATE)
    max_body = MAX_CALL_BYTES

    async def post(self, request: Request) -> Response:
        """Answer `{"result": ...}`; what the method raised is a problem with the code `remote_error`."""
        target, method = _target(request), request.kwargs["method"]
        body = await request.json(Call, _NO_ARGUMENTS)
        try:
            result = await aask(
                request.principal.name,
                lambda inspector: inspector.call(target, method, body.args, body.kwargs),
            )
        except RemoteError as error:
            raise Problem(
                409 if error.declared else 500,
                error.code,
                error.message,
                error_type=error.error_type,
                delivered=error.delivered,
            ) from None
        except NotCallableError as error:
            raise Problem(404, error.code, str(error)) from None
        except (ArgumentError, ValueRefusedError) as error:
            raise Problem(422, error.code, str(error)) from None
        return json_response({"result": jsonable(result)})


class WorkersConsumer(HttpConsumer):
    """`/workers`: the processes that own objects."""

    requires = require("objects", staff=VIEW)

    async def get(self, request: Request) -> Response:
        """All of them."""
        found = await aask(request.principal.name, lambda inspector: inspector.workers())
        return json_response({"items": found})


def _target(request: Request) -> ObjectId:
    key = request.kwargs["class"]
    _check_class(key)
    return find_object(key, request.kwargs["name"])


def _check_class(key: str) -> None:
    try:
        find_class(key)
    except UnknownClassError as error:
        raise Problem(404, error.code, str(error)) from None


def _page_limit(text: str | None) -> int:
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE):
        raise Problem(400, "bad_query", f"limit must be a number from 1 to {MAX_PAGE}.")
    return int(text)
