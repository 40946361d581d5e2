"""Where a path leads, and which requests the server may run without a task."""

from typing import Any

import pytest
from django.urls import re_path

from durable.gateway.paths import LONGEST_KNOWN, MOST_KNOWN, Application, PathRouter
from project.asgi import application


class Endpoint:
    """Keeps what it is asked, and changes it as an application may."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(dict(scope["url_route"]["kwargs"]))
        scope["url_route"]["kwargs"].clear()


def router_to(endpoint: Endpoint) -> PathRouter:
    route: Any = re_path(r"^things/(?P<name>[^/]+)$", endpoint, {"kind": "thing"})  # type: ignore[call-overload]
    return PathRouter([route])


async def ask(router: PathRouter, path: str) -> None:
    await router({"type": "http", "path": path, "raw_path": path.encode()}, None, None)  # type: ignore[arg-type]


async def test_a_path_that_is_remembered_leads_where_it_led_before() -> None:
    endpoint = Endpoint()
    router = router_to(endpoint)
    for name in ("a", "b", "a", "a%2Fb", "a"):
        await ask(router, f"/things/{name}")
    assert [one["name"] for one in endpoint.seen] == ["a", "b", "a", "a%2Fb", "a"]
    assert {one["kind"] for one in endpoint.seen} == {"thing"}


async def test_paths_are_remembered_within_bounds() -> None:
    endpoint = Endpoint()
    router = router_to(endpoint)
    for number in range(MOST_KNOWN + 10):
        await ask(router, f"/things/{number}")
    assert 0 < len(router._known) <= MOST_KNOWN
    before = len(router._known)
    await ask(router, "/things/" + "x" * LONGEST_KNOWN)
    assert len(router._known) == before
    assert len(endpoint.seen) == MOST_KNOWN + 11


async def test_a_path_without_a_route_is_an_error() -> None:
    with pytest.raises(ValueError, match="no route"):
        await ask(router_to(Endpoint()), "/nothing")


def test_a_path_without_a_route_is_the_applications_to_answer() -> None:
    assert not Application(http=[], websocket=[]).needs_no_task({"type": "http", "path": "/nothing"})


@pytest.mark.parametrize(
    ("path", "needs_none"),
    [
        ("/api/v1/counters/x/increment", True),
        ("/api/v1/counters/x", True),
        ("/api/v1/limiters/x/check", True),
        ("/demo/limited", True),
        ("/api/v1/counters", False),  # many calls side by side
        ("/api/v1/limiters/x", False),  # a policy: Django's database
        ("/readyz", False),
        ("/admin/", False),
        ("/", False),
    ],
)
def test_what_only_calls_objects_needs_no_task(path: str, needs_none: bool) -> None:
    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    assert application.needs_no_task(scope) is needs_none
