"""Objects that answer HTTP themselves: a project mounts a class at a path, and each request goes to one object's `fetch`."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.urls import re_path

from durable.runtime import requests
from durable.runtime.objects import DurableObject, has_fetch

from .http import Authorizer, HttpConsumer, Request, Response

_NAME = re.compile(r"<(?:(?:str|path):)?(\w+)>")
_CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_OURS = _CONNECTION | {"content-length", "x-request-id", "x-content-type-options"}
_BODILESS = frozenset((204, 304))


def object_urls(kind: type[DurableObject], route: str, *, requires: Authorizer | None = None) -> list[Any]:
    """Routes for `http_urlpatterns` that hand requests to objects: `object_urls(Room, "rooms/<name>/")`.

    Args:
        kind: the class; it must have a `fetch` hook.
        route: a path with `<name>` once, as one whole segment. What follows the route is the request's `path`.
        requires: who may ask, such as `durable.gateway.auth.require("rooms")`; default: anybody.
    """
    if not has_fetch(kind):
        raise TypeError(
            f"{kind.__qualname__} has no fetch hook: write `async def fetch(self, request)` before you mount it"
        )
    found = _NAME.findall(route)
    if found != ["name"] or "<name>" not in route.split("/") or route.startswith("/"):
        raise ValueError(
            f"{route!r} must have <name> once, as one segment, and no slash before it: 'rooms/<name>/'"
        )
    before, after = route.split("<name>")
    below = "(?P<path>/.*)" if after.endswith("/") else "(?P<path>(?:/.*)?)"
    pattern = f"^{re.escape(before)}(?P<name>[^/]+){re.escape(after.removesuffix('/'))}{below}$"
    members = {
        "kind": kind,
        "requires": None if requires is None else staticmethod(requires),
        "__doc__": kind.__doc__,
    }
    consumer: Any = type(f"{kind.__name__}Fetch", (ObjectConsumer,), members)
    return [re_path(pattern, consumer.as_asgi())]


class ObjectConsumer(HttpConsumer):
    """Hands each request to the object that its path names; a class of `object_urls` for each mount."""

    kind: ClassVar[type[DurableObject]]
    max_body = requests.MAX_BODY_BYTES
    declared_errors: ClassVar[dict[str, tuple[int, str]]] = {
        requests.BadJsonError.__name__: (400, "bad_json")
    }

    async def get(self, request: Request) -> Response:
        """The object's answer."""
        stub: Any = self.kind.namespace.get_by_name(request.kwargs["name"])
        asked = requests.Request(
            method=request.method,
            path=request.kwargs["path"],
            query=request.query,
            query_string=request.scope.get("query_string", b"").decode("latin-1"),
            headers=_plain(request.headers),
            body=await request.body(),
            caller=request.principal.name,
            client_address=request.client_address,
        )
        answer = await requests.fetch(stub.id, asked)
        headers = [
            (name.lower().encode(), value.encode("latin-1"))
            for name, value in answer.pairs()
            if name.lower() not in _OURS
        ]
        return Response(answer.status, b"" if answer.status in _BODILESS else answer.body, headers)

    post = put = patch = delete = get


def _plain(headers: dict[bytes, bytes]) -> dict[str, str]:
    plain = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return {name: value for name, value in plain.items() if name not in _CONNECTION}
