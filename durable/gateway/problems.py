"""Refusals as RFC 9457 problem documents, and the one table that turns runtime errors into them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from durable.errors import (
    ArgumentError,
    DamagedFileError,
    DurableError,
    EventTimeoutError,
    InvalidNameError,
    MemoryLimitError,
    NotCallableError,
    ObjectError,
    OverloadedError,
    ReentrantCallError,
    RemoteError,
    StorageLimitError,
    UnknownClassError,
    ValueRefusedError,
)

Header = tuple[bytes, bytes]

PROBLEM_JSON = b"application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457's own word for it
    """A refusal the client is told about; raised anywhere under a consumer.

    Args:
        status: HTTP status, 4xx or 5xx.
        code: a stable word for programs, e.g. "out_of_range".
        detail: one sentence for people.
        headers: further response headers.
        extensions: further members of the document, JSON values.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Iterable[Header] = (), **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = list(headers)
        self.extensions = extensions

    def document(self, request_id: str) -> dict[str, Any]:
        """The members of the JSON document."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **self.extensions,
        }


def invalid(detail: str, pointer: str = "", *, status: int = 422, code: str = "invalid") -> Problem:
    """The problem of one bad member of a body; `pointer` is a JSON Pointer (RFC 6901)."""
    return Problem(status, code, detail, errors=[{"pointer": pointer, "detail": detail}])


def retry_after(seconds: float) -> Header:
    """The Retry-After header: whole seconds, never early, at least 1."""
    return (b"retry-after", b"%d" % max(1, math.ceil(seconds)))


# The most special class first; a class not listed is answered as its nearest listed ancestor, else 500.
_TABLE: dict[type[DurableError], tuple[int, str]] = {
    InvalidNameError: (400, "This name cannot be used."),
    NotCallableError: (404, "There is no such method."),
    UnknownClassError: (404, "There is no such class."),
    ArgumentError: (422, "The arguments do not fit the method."),
    ValueRefusedError: (422, "A value cannot be sent or stored."),
    StorageLimitError: (422, "A value is larger than an object may store."),
    DamagedFileError: (
        500,
        "What this object has stored is damaged. An operator can restore it from a copy.",
    ),
    OverloadedError: (503, "Too busy at the moment."),
    MemoryLimitError: (507, "The operation took too much memory."),
    EventTimeoutError: (504, "The operation took too long."),
    ReentrantCallError: (500, "The operation called itself through other objects."),
}

_WITHOUT_EFFECT = {
    503: " Nothing was done; try again shortly.",
    504: " It was undone.",
    507: " It was undone.",
}
_UNKNOWN_EFFECT = " It is not known whether this was done."
_RETRY_SECONDS = 1


def problem_from(error: DurableError, declared: dict[str, tuple[int, str]] | None = None) -> Problem:
    """What a client is told of a runtime error.

    `declared` maps class names of `ObjectError` subclasses to (status, code). Only such errors show their own
    text and fields; of all others the client learns the code and nothing else. Only what has certainly not been done is
    to be tried again.
    """
    if isinstance(error, ObjectError):  # raised in this very process
        error = RemoteError(type(error).__name__, error.message, error.fields, declared=True)
    if isinstance(error, RemoteError):
        known = (declared or {}).get(error.error_type)
        if known is not None:
            return Problem(known[0], known[1], error.message, **_free_fields(error.fields))
        if error.declared:
            return Problem(409, "object_error", error.message, error_type=error.error_type)
        return Problem(500, error.code, "The object failed while it handled this request.")
    for kind in type(error).__mro__:
        if kind in _TABLE:
            status, detail = _TABLE[kind]
            break
    else:
        status, detail = 500, "The request could not be completed."
        if error.retryable:
            status, detail = 503, "The object is not available at the moment."
    undone = error.delivered == "no"
    if status in _WITHOUT_EFFECT:
        detail += _WITHOUT_EFFECT[status] if undone else _UNKNOWN_EFFECT
    headers = [retry_after(_RETRY_SECONDS)] if status == 503 and undone else []
    extensions: dict[str, Any] = {"delivered": error.delivered} if status >= 500 else {}
    return Problem(status, error.code, detail, headers=headers, **extensions)


_RESERVED = frozenset({"type", "title", "status", "detail", "code", "request_id", "headers"})


def _free_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _RESERVED}
