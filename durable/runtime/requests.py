"""HTTP requests that objects answer, as `fetch` sees them: plain values that travel like any call."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from durable.errors import ObjectError, ValueRefusedError
from durable.identity import ObjectId

from .namespace import dispatch

FETCH = "_do_fetch"
"""The method of a call that carries a request: no name that a stub or an operator could call."""

MAX_BODY_BYTES = 32 * 1024 * 1024

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Headers = dict[str, str | list[str]]


class BadJsonError(ObjectError, ValueError):
    """A request's body is not JSON. Where `fetch` lets it out, the client gets a 400, and the instance lives on."""


class Request(msgspec.Struct, kw_only=True, frozen=True):
    """An HTTP request as an object's `fetch` gets it.

    Attributes:
        method: in capitals.
        path: what follows the mount, without percent-encoding; it begins with "/" or is empty.
        query: parameters; of a repeated one the last counts.
        query_string: the query as it was sent.
        headers: by lower-case name; repeated ones are joined.
        body: at most 32 MiB.
        caller: who it acts for, as the mount's `requires` has decided; empty for anybody.
        client_address: the client's IP address.
    """

    method: str = "GET"
    path: str = "/"
    query: dict[str, str] = {}
    query_string: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""
    caller: str = ""
    client_address: str = ""

    def json(self) -> Any:
        """The body as JSON; raises BadJsonError, a ValueError, when it is none: the client's fault, which is answered with 400."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadJsonError(f"The body is not valid JSON: {error}.") from None


class Response(msgspec.Struct, frozen=True):
    """An object's answer to a request.

    Attributes:
        status: 200 to 599.
        body: at most 32 MiB.
        headers: by name; a list of values repeats the header. Length and connection headers are the gateway's.
    """

    status: int = 200
    body: bytes = b""
    headers: Headers = {}

    def __post_init__(self) -> None:
        """Refuse what cannot be sent. Raises ValueError, TypeError."""
        if type(self.status) is not int or not 200 <= self.status <= 599:
            raise ValueError(f"a response has a status from 200 to 599, not {self.status!r}")
        if type(self.body) is not bytes:
            raise TypeError(
                f"a response's body is bytes, not {type(self.body).__name__}: see Response.text()"
            )
        if len(self.body) > MAX_BODY_BYTES:
            raise ValueRefusedError(f"a response's body has at most {MAX_BODY_BYTES} bytes")
        headers: Any = self.headers
        if not isinstance(headers, dict):
            raise TypeError(f"a response's headers are a dict, not {type(headers).__name__}")
        pairs: list[tuple[Any, Any]] = self.pairs()
        for name, value in pairs:
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(
                    f"a header's name and value are texts, and several values a list of texts: {name!r}: {value!r}"
                )
            if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
                raise ValueError(f"{name!r}: {value!r} cannot be a header")
            value.encode("latin-1")

    def pairs(self) -> list[tuple[str, str]]:
        """The headers one by one."""
        return [
            (name, value)
            for name, values in self.headers.items()
            for value in (values if isinstance(values, list) else [values])
        ]

    @classmethod
    def text(cls, text: str, status: int = 200, headers: Headers | None = None) -> Response:
        """An answer in plain text. Raises TypeError for what is no text."""
        given: Any = text
        if not isinstance(given, str):
            raise TypeError(f"Response.text() takes a text, not {type(given).__name__}")
        return cls(status, text.encode(), {"content-type": "text/plain; charset=utf-8", **(headers or {})})

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers | None = None) -> Response:
        """An answer in JSON."""
        return cls(
            status, msgspec.json.encode(value), {"content-type": "application/json", **(headers or {})}
        )


encode_request = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
encode_response = msgspec.msgpack.Encoder().encode
decode_response = msgspec.msgpack.Decoder(Response).decode


async def fetch(object_id: ObjectId, request: Request) -> Response:
    """Have an object answer a request, through the ordinary call path. Raises DurableError."""
    if len(request.body) > MAX_BODY_BYTES:
        raise ValueRefusedError(f"a request's body has at most {MAX_BODY_BYTES} bytes", delivered="no")
    return decode_response(await dispatch.current().call(object_id, FETCH, encode_request(request)))
