"""The counters' REST endpoints and the tutorial's two demonstrations."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from durable.gateway.auth import require
from durable.gateway.bodies import Int64
from durable.gateway.catalog import page_of_names
from durable.gateway.http import (
    HttpConsumer,
    Principal,
    Problem,
    Request,
    Response,
    json_response,
    text_response,
)
from durable.gateway.problems import Header, invalid

from .objects import Counter, State

MAX_NAME = 200
DEFAULT_PAGE, MAX_PAGE = 50, 100
DEMO = "demo"

_NO_CACHE = (b"cache-control", b"no-cache")
_NO_STORE = (b"cache-control", b"no-store")
_REPLAYED = (b"idempotent-replayed", b"true")
_ENTITY_TAG = re.compile(r'\s*(?:W/)?"v(\d{1,19})"\s*')
_QUOTED_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')

DECLARED = {
    "CounterOverflow": (409, "overflow"),
    "CounterOutOfRange": (409, "out_of_range"),
    "CounterChanged": (412, "precondition_failed"),
    "IdempotencyKeyReused": (422, "idempotency_key_reused"),
}


class Increment(msgspec.Struct, forbid_unknown_fields=True):
    """Body of an increment."""

    by: Int64 = 1
    min: Int64 | None = None
    max: Int64 | None = None


class Value(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a set."""

    value: Int64


_BY_ONE = Increment()


class CountersConsumer(HttpConsumer):
    """`/counters`: the counters there are, in order of name."""

    requires = require("counters")
    declared_errors = DECLARED

    async def get(self, request: Request) -> Response:
        """One page, with `prefix`, `cursor` and `limit`."""
        query = request.query
        names, following = await page_of_names(
            Counter.key,
            prefix=query.get("prefix", ""),
            cursor=query.get("cursor", ""),
            limit=page_limit(query.get("limit")),
        )
        states = await asyncio.gather(*(Counter.namespace.get_by_name(name).read() for name in names))
        # The catalog may still name a counter that was deleted a moment ago; the counter itself knows.
        items = [document(name, state) for name, state in zip(names, states, strict=True) if state[1] > 0]
        return json_response({"items": items, "next": following})


class CounterConsumer(HttpConsumer):
    """`/counters/{name}`: one counter."""

    needs_no_task = True
    requires = require("counters")
    declared_errors = DECLARED

    async def get(self, request: Request) -> Response:
        """The counter; 304 when If-None-Match names its version."""
        name = counter_name(request)
        state = await Counter.namespace.get_by_name(name).read()
        wanted = request.headers.get(b"if-none-match")
        if wanted is not None and _matches(wanted, state[1]):
            return Response(304, headers=(_entity_tag(state), _NO_CACHE))
        return _answer(name, state, _NO_CACHE)

    async def put(self, request: Request) -> Response:
        """Set the value, if the preconditions hold."""
        name = counter_name(request)
        headers = request.headers
        wanted = headers.get(b"if-none-match")
        if wanted is not None and wanted.strip() != b"*":
            raise Problem(400, "bad_precondition", "If-None-Match can only be * here.")
        body = await request.json(Value)
        state = await Counter.namespace.get_by_name(name).set(
            body.value, _expected(headers.get(b"if-match")), absent=wanted is not None
        )
        return _answer(name, state)

    async def delete(self, request: Request) -> Response:
        """Forget the counter."""
        name = counter_name(request)
        await Counter.namespace.get_by_name(name).delete(_expected(request.headers.get(b"if-match")))
        return Response(204)


class IncrementConsumer(HttpConsumer):
    """`/counters/{name}/increment`: add to one counter."""

    needs_no_task = True
    requires = require("counters")
    declared_errors = DECLARED

    async def post(self, request: Request) -> Response:
        """Add `by`, within `min` and `max`; once per Idempotency-Key."""
        name = counter_name(request)
        body = await request.json(Increment, _BY_ONE)
        if body.min is not None and body.max is not None and body.min > body.max:
            raise invalid("min is above max.", "/min")
        counter = Counter.namespace.get_by_name(name)
        given = request.headers.get(b"idempotency-key")
        if given is None:
            if body.min is None and body.max is None:
                return _answer(name, await counter.add(body.by))
            return _answer(name, await counter.add(body.by, body.min, body.max))
        key = scoped_key(request.principal, idempotency_key(given))
        replayed, state = await counter.add_once(key, body.by, body.min, body.max)
        return _answer(name, state, _NO_STORE, _REPLAYED) if replayed else _answer(name, state)


class DemoIncrementConsumer(HttpConsumer):
    """`/demo/increment`: the tutorial's counter, counted up."""

    needs_no_task = True

    async def get(self, _request: Request) -> Response:
        """Answer `Count: 1`, `Count: 2` and so on."""
        return text_response(f"Count: {await Counter.namespace.get_by_name(DEMO).increment()}")

    async def post(self, request: Request) -> Response:
        """The same."""
        return await self.get(request)


class DemoConsumer(HttpConsumer):
    """`/demo/`: the tutorial's counter, looked at."""

    needs_no_task = True

    async def get(self, _request: Request) -> Response:
        """Answer `Current count: 2`."""
        return text_response(f"Current count: {await Counter.namespace.get_by_name(DEMO).value()}")


def counter_name(request: Request) -> str:
    """The name in the path. Raises a 400 Problem for one that no counter can have."""
    name = request.kwargs["name"]
    if not 1 <= len(name) <= MAX_NAME or "\0" in name:
        raise Problem(400, "bad_name", f"A counter's name has 1 to {MAX_NAME} characters, none of them NUL.")
    return name


def page_limit(text: str | None) -> int:
    """The number of items asked for. Raises a 400 Problem for anything but 1 to 100."""
    if not text:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE):
        raise Problem(400, "bad_query", f"limit must be a number from 1 to {MAX_PAGE}.")
    return int(text)


def idempotency_key(header: bytes) -> str:
    """The key in an Idempotency-Key header: an RFC 9651 string, or the bare text. Raises a 400 Problem for others."""
    text = header.decode("latin-1").strip()
    quoted = _QUOTED_KEY.fullmatch(text)
    if quoted:
        text = re.sub(r"\\(.)", r"\1", quoted[1])
    if not 1 <= len(text) <= 255 or not (text.isascii() and text.isprintable()):
        raise Problem(
            400, "bad_idempotency_key", "Idempotency-Key must be 1 to 255 visible ASCII characters."
        )
    return text


def scoped_key(principal: Principal, key: str) -> str:
    """The idempotency key as the object knows it: one caller's keys mean nothing to another."""
    return f"{principal.name}\n{key}"


def _matches(header: bytes, version: int) -> bool:
    """Whether an If-None-Match header covers a version: weak comparison, a list, or * for any that exists."""
    if header.strip() == b"*":
        return version > 0
    return any(
        found and int(found[1]) == version
        for found in map(_ENTITY_TAG.fullmatch, header.decode("latin-1").split(","))
    )


def _expected(header: bytes | None) -> list[int] | None:
    """The versions an If-Match header allows: None for any, an empty list for any that exists."""
    if header is None:
        return None
    if header.strip() == b"*":
        return []
    # Comparison is strong, and no tag of ours is weak; a tag that is not ours matches nothing.
    found = [_ENTITY_TAG.fullmatch(tag) for tag in header.decode("latin-1").split(",") if "W/" not in tag]
    return [int(tag[1]) for tag in found if tag] or [-1]


def document(name: str, state: State) -> dict[str, Any]:
    """A counter as the API shows it."""
    value, version, at = state
    updated = None if version == 0 else datetime.fromtimestamp(at / 1000, UTC)
    return {"name": name, "value": value, "version": version, "updated_at": updated}


def _entity_tag(state: State) -> Header:
    return (b"etag", b'"v%d"' % state[1])


def _answer(name: str, state: State, cache: Header = _NO_STORE, *headers: Header) -> Response:
    return json_response(document(name, state), headers=(cache, _entity_tag(state), *headers))
