"""Channels' routers, with two things more: paths stay percent-encoded, so that an encoded slash is part of a name, and the server
is told which requests need no task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from channels.routing import ProtocolTypeRouter, URLRouter

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

MOST_KNOWN = 4096
LONGEST_KNOWN = 256  # characters


class Found(NamedTuple):
    """Where a path leads."""

    application: Callable[[Scope, Receive, Send], Awaitable[None]]
    rest: str
    kwargs: dict[str, Any]
    needs_no_task: bool


class PathRouter(URLRouter):
    """Routes a connection by its path as it was sent, without the root path, and remembers where paths led.

    What to await is the route's, and the scope is given on as it is: a layer and a copy less for each request. Raises ValueError
    where no route matches.
    """

    def __init__(self, routes: list[Any]) -> None:
        super().__init__(routes)
        self._known: dict[str, Found] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """Route one connection."""
        found = self.find(scope)
        scope["path_remaining"] = found.rest
        scope["url_route"] = {"args": (), "kwargs": found.kwargs.copy()}
        return found.application(scope, receive, send)

    def find(self, scope: Scope) -> Found:
        """Where a connection leads. Raises ValueError where no route matches."""
        raw = scope.get("raw_path")
        path = raw.decode("latin-1").partition("?")[0] if raw else scope["path"]
        root = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        return self._known.get(path) or self._look(path)

    def _look(self, path: str) -> Found:
        routes: list[Any] = self.routes
        for route in routes:
            match = route.pattern.match(path.lstrip("/"))
            if match:
                rest, _, kwargs = match
                consumer = getattr(route.callback, "__self__", None)
                needs_no_task = getattr(consumer, "needs_no_task", False)
                found = Found(route.callback, rest, {**kwargs, **route.default_args}, needs_no_task)
                if len(path) <= LONGEST_KNOWN:
                    if len(self._known) >= MOST_KNOWN:
                        self._known.clear()
                    self._known[path] = found
                return found
        raise ValueError(f"there is no route for {path!r}")


class Application(ProtocolTypeRouter):
    """What a gateway serves. Its server may run a request without a task where this says so (`HttpConsumer.needs_no_task`).

    Args:
        http: the routes of HTTP requests.
        websocket: those of WebSockets.
    """

    def __init__(self, *, http: list[Any], websocket: list[Any]) -> None:
        self._http = PathRouter(http)
        super().__init__({"http": self._http, "websocket": PathRouter(websocket)})

    def needs_no_task(self, scope: Scope) -> bool:
        """Whether a request can be run without a task."""
        try:
            return self._http.find(scope).needs_no_task
        except ValueError:  # no route: the application will say so
            return False
