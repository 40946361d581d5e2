"""Lean HTTP consumers: one ASGI callable a route, with everything that is not always needed done only when asked for.

They are mounted ahead of Django, on the raw path, and so check Host and Origin themselves. One consumer instance
serves all requests of its route: what belongs to a request is in its `Request`.
"""

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from random import getrandbits
from typing import Any, ClassVar, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

from durable.conf import durable_settings
from durable.errors import DurableError, UnavailableError

from .addresses import client_address
from .answers import answer_writer
from .bodies import decode_json, encode
from .origins import HostPolicy, origin_allowed
from .problems import PROBLEM_JSON, Header, Problem, problem_from

__all__ = [
    "ApiNotFound",
    "HttpConsumer",
    "Principal",
    "Problem",
    "Request",
    "Response",
    "json_response",
    "text_response",
]

logger = logging.getLogger("durable.gateway")

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
T = TypeVar("T")

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_PROBLEM = (b"content-type", PROBLEM_JSON)
_NO_STORE = (b"cache-control", b"no-store")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REQUEST_ID_CHARACTERS = (string.ascii_letters + string.digits + "._-").encode()

MAX_PARAMETERS = 50
"""Parameters of a query string."""

_hosts = HostPolicy()


class ClientGoneError(Exception):
    """The client closed the connection before its body had arrived; nobody is left to answer."""


class Principal:
    """Who a request acts for.

    Attributes:
        name: unique per token or user, empty for anybody; keeps one caller's idempotency keys from another's.
        scopes: what the caller may do.
    """

    __slots__ = ("name", "scopes")

    def __init__(self, name: str, scopes: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.scopes = scopes


ANYBODY = Principal("")


class Authorizer(Protocol):
    """Decides who a request acts for, or raises a 401 or 403 Problem."""

    async def __call__(self, request: Request, /) -> Principal:
        """Return the request's principal."""


class Request:
    """One HTTP request, parsed as far as it is looked at.

    Attributes:
        scope: the ASGI scope.
        method: in capitals.
        headers: by lower-case name; repeated ones are joined by commas, cookies by semicolons.
        kwargs: what the route found in the path, without its percent-encoding.
        principal: who it acts for, once the consumer's `requires` has decided.
        max_body: bytes its body may have.
    """

    __slots__ = ("_query", "_receive", "headers", "kwargs", "max_body", "method", "principal", "scope")

    def __init__(self, scope: Scope, receive: Receive, max_body: int) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.max_body = max_body
        self.principal = ANYBODY
        self._receive = receive
        self.headers = _headers(scope["headers"])
        self._query: dict[str, str] | None = None
        route = scope.get("url_route")
        self.kwargs: dict[str, str] = route["kwargs"] if route else {}

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded."""
        raw = self.scope.get("raw_path")
        return raw.decode("latin-1") if raw is not None else str(self.scope["path"])

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of a repeated one the last counts. Raises a 400 Problem for more than 50, and when they are not UTF-8."""
        if self._query is None:
            raw = self.scope.get("query_string", b"")
            if not raw:
                self._query = {}
            elif raw.count(b"&") >= MAX_PARAMETERS:
                raise Problem(
                    400, "bad_query", f"The query string has more than {MAX_PARAMETERS} parameters."
                )
            else:
                try:
                    pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
                except ValueError:
                    raise Problem(400, "bad_query", "The query string is not valid.") from None
                self._query = dict(pairs)
        return self._query

    @property
    def client_address(self) -> str:
        """The client's IP address, through as many proxies as are trusted."""
        return client_address(self.scope, durable_settings().trusted_proxy_count)

    async def body(self) -> bytes:
        """The whole body. Raises a 413 Problem as soon as it is known to exceed the bound."""
        length = self.headers.get(b"content-length")
        # isdigit() accepts only ASCII digits in bytes; anything else is left to the server's own check.
        if length is not None and length.isdigit() and int(length) > self.max_body:
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            grown = bytearray(body)
            while message.get("more_body") and len(grown) <= self.max_body:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                grown += message.get("body", b"")
            body = bytes(grown)
        if len(body) > self.max_body:
            raise self._too_large()
        return body

    async def json(self, kind: type[T], default: T | None = None) -> T:
        """The body decoded as `kind`; an empty body is `default` if there is one.

        Raises:
            Problem: 400 not JSON, 413 too large, 415 another content type or compressed, 422 another shape.
        """
        body = await self.body()
        if not body and default is not None:
            return default
        content_type = self.headers.get(b"content-type", b"")
        if content_type != b"application/json":
            _check_content_type(content_type)
        if b"content-encoding" in self.headers:
            _check_content_encoding(self.headers[b"content-encoding"])
        if not body:
            raise Problem(400, "bad_json", "A JSON body is required.")
        return decode_json(body, kind)

    def request_id(self) -> str:
        """The client's X-Request-ID if it is 1 to 64 letters, digits, dots, dashes and underscores, else a new one."""
        given = self.headers.get(b"x-request-id")
        if given and len(given) <= 64 and not given.translate(None, _REQUEST_ID_CHARACTERS):
            return given.decode("ascii")
        return f"{getrandbits(64):016x}"

    def _too_large(self) -> Problem:
        # The rest of the body is never read, so the connection cannot carry another request.
        return Problem(
            413,
            "body_too_large",
            f"The body is larger than {self.max_body} bytes.",
            headers=[(b"connection", b"close")],
        )


class Response:
    """A complete answer: status, body and headers (names in lower case)."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
        self.status = status
        self.body = body
        self.headers = headers


def json_response(value: Any, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """`value` as JSON, not to be stored by caches unless `headers` say otherwise."""
    return Response(status, encode(value), (_JSON, *headers) if headers else (_JSON, _NO_STORE))


def text_response(text: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """`text` as plain text, not to be stored by caches."""
    return Response(status, text.encode(), (_TEXT, _NO_STORE, *headers))


class HttpConsumer:
    """Base of HTTP endpoints: define `get`, `post`, `put`, `patch` or `delete`, each `async def (request) -> Response`.

    HEAD follows `get`; OPTIONS and unknown methods are answered here.
    """

    requires: ClassVar[Authorizer | None] = None
    """Who may call; None is anybody. See `durable.gateway.auth.require`."""

    max_body: ClassVar[int] = 64 * 1024
    """Bytes of a request body."""

    needs_no_task: ClassVar[bool] = False
    """The handlers await calls of objects above all, and nothing that needs the task it runs in (`asyncio.timeout`, a TaskGroup): the
    server may then run a request without one, which is a fifth cheaper."""

    declared_errors: ClassVar[dict[str, tuple[int, str]]] = {}
    """Class names of the objects' `ObjectError`s, each with the status and code it is answered with."""

    def __init__(self) -> None:
        handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {}
        for method in _METHODS:
            handler = getattr(self, method.lower(), None)
            if handler is not None:
                handlers[method] = handler
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self._handlers = handlers
        self._allow = (b"allow", ", ".join([*handlers, "OPTIONS"]).encode())

    @property
    def methods(self) -> list[str]:
        """The methods that have a handler, HEAD included."""
        return list(self._handlers)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """An ASGI application for a route."""
        return cls(**initkwargs).__call__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive, self.max_body)
        request_id = request.request_id()
        try:
            response = await self._respond(request)
        except Problem as problem:
            response = _problem_response(problem, request_id)
        except ClientGoneError:
            return
        except asyncio.CancelledError:  # this process ends; what was asked for may go on elsewhere
            stopping = UnavailableError("this process is stopping", delivered="unknown")
            response = _problem_response(problem_from(stopping), request_id)
        except DurableError as error:
            told = problem_from(error, self.declared_errors)
            if told.status >= 500 and not error.overloaded:  # a line for each refusal would add to the load
                logger.warning(
                    "%s %s failed: %s: %s (request %s)",
                    request.method,
                    request.path,
                    type(error).__name__,
                    error,
                    request_id,
                )
            response = _problem_response(told, request_id)
        except Exception:  # the edge: whatever it was, the client gets an answer and we get the traceback
            logger.exception("%s %s failed (request %s)", request.method, request.path, request_id)
            response = _problem_response(
                Problem(500, "internal", "The request could not be completed."), request_id
            )
        status, body = response.status, response.body
        headers = [*response.headers, (b"x-request-id", request_id.encode()), _NOSNIFF]
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        if request.method == "HEAD":
            body = b""
        write = answer_writer(scope)
        if write is None or not write(status, headers, body):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def _respond(self, request: Request) -> Response:
        headers = request.headers
        if not _hosts.allows(headers):
            raise Problem(400, "host_not_allowed", "This host is not served here (ALLOWED_HOSTS).")
        handler = self._handlers.get(request.method)
        if handler is None:
            if request.method == "OPTIONS":
                return Response(204, headers=(self._allow,))
            raise Problem(
                405, "method_not_allowed", f"{request.method} is not supported here.", headers=[self._allow]
            )
        if (
            b"origin" in headers
            and request.method not in _SAFE
            and not origin_allowed(request.scope, headers)
        ):
            raise Problem(403, "origin_not_allowed", "Requests from this origin are not accepted.")
        if self.requires is not None:
            request.principal = await self.requires(request)
        if request.kwargs:
            request.kwargs = {name: decode_segment(value) for name, value in request.kwargs.items()}
        return await handler(request)


class ApiNotFound(HttpConsumer):
    """Answers every path that no other route took, with a problem document."""

    async def _respond(self, request: Request) -> Response:
        if not _hosts.allows(request.headers):
            raise Problem(400, "host_not_allowed", "This host is not served here (ALLOWED_HOSTS).")
        raise Problem(404, "not_found", "There is nothing at this path.")


def decode_segment(segment: str) -> str:
    """A path segment without its percent-encoding. Raises a 400 Problem when it is not UTF-8."""
    if "%" not in segment and segment.isascii():
        return segment
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        raise Problem(400, "bad_path", "The path is not valid UTF-8.") from None


def _headers(pairs: Sequence[Header]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = dict(pairs)
    if len(found) == len(pairs):
        return found
    found = {}
    for name, value in pairs:
        between = b"; " if name == b"cookie" else b","
        found[name] = found[name] + between + value if name in found else value
    return found


def _check_content_type(value: bytes) -> None:
    kind = value.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        given = kind.decode("latin-1") or "none"
        raise Problem(
            415, "unsupported_media_type", f"The body must be application/json; its Content-Type is {given}."
        )


def _check_content_encoding(value: bytes) -> None:
    if value.strip().lower() != b"identity":
        raise Problem(
            415,
            "unsupported_media_type",
            f"The body must not be compressed; its Content-Encoding is {value.decode('latin-1')}.",
            headers=[(b"accept-encoding", b"identity")],
        )


def _problem_response(problem: Problem, request_id: str) -> Response:
    return Response(
        problem.status, encode(problem.document(request_id)), (_PROBLEM, _NO_STORE, *problem.headers)
    )
