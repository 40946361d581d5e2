"""The composed application: what is routed ahead of Django, by raw path, and the headers of what is not."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse
from django.urls import re_path

from durable.gateway.paths import PathRouter
from project.asgi import application
from project.middleware import StaticMiddleware


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as made:
        yield made


async def test_an_encoded_slash_stays_part_of_a_name() -> None:
    seen: list[dict[str, str]] = []

    async def endpoint(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["url_route"]["kwargs"])

    route: Any = re_path(r"^counters/(?P<name>[^/]+)$", endpoint)  # type: ignore[call-overload]
    router = PathRouter([route])
    scope = {"type": "http", "path": "/counters/a/b", "raw_path": b"/counters/a%2Fb", "root_path": ""}
    await router(scope, None, None)  # type: ignore[arg-type]
    await router({**scope, "raw_path": None, "path": "/counters/plain"}, None, None)  # type: ignore[arg-type]
    await router({**scope, "raw_path": b"/sub/counters/x", "root_path": "/sub"}, None, None)  # type: ignore[arg-type]
    assert seen == [{"name": "a%2Fb"}, {"name": "plain"}, {"name": "x"}]


async def test_an_unknown_socket_is_accepted_and_closed_with_4404() -> None:
    scope = {"type": "websocket", "path": "/ws/nothing/", "raw_path": b"/ws/nothing/", "headers": []}
    socket = ApplicationCommunicator(application, scope)
    await socket.send_input({"type": "websocket.connect"})
    assert (await socket.receive_output())["type"] == "websocket.accept"
    closed = await socket.receive_output()
    assert (closed["type"], closed["code"]) == ("websocket.close", 4404)
    with contextlib.suppress(TimeoutError):
        await socket.wait()


async def test_livez_answers_whatever_host_asks(client: httpx.AsyncClient) -> None:
    answer = await client.get("/livez", headers={"host": "10.1.2.3:8000"})
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert (await client.head("/livez")).status_code == 200
    assert (await client.post("/livez")).status_code == 405


@pytest.mark.django_db(transaction=True)
async def test_pages_carry_a_strict_policy_that_allows_their_own_sockets(client: httpx.AsyncClient) -> None:
    answer = await client.get("/admin/login/")
    assert answer.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://localhost"
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]


@pytest.mark.django_db(transaction=True)
async def test_a_foreign_host_is_refused_by_django_too(client: httpx.AsyncClient) -> None:
    assert (await client.get("/admin/login/", headers={"host": "evil.example"})).status_code == 400


@pytest.mark.django_db(transaction=True)
async def test_an_unknown_path_of_the_api_is_a_problem_document(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["code"], problem["request_id"]) == ("not_found", answer.headers["x-request-id"])
    assert "html" in (await client.get("/nothing")).headers["content-type"]


@pytest.mark.parametrize(
    ("url", "immutable"),
    [
        ("/static/dist/chunks/ar-SA-G6X2FPQ2-tFBR427Z.js", True),
        ("/static/dist/assets/board-PlhUqBbu.css", True),
        ("/static/dist/assets/Assistant-Bold-gm-uSS1B.woff2", True),
        ("/static/dist/fonts/ComicShanns/ComicShanns-Regular-279a7b317d12eb88de06167bd672b4b4.woff2", True),
        ("/static/dist/room.js", False),
        ("/static/dist/chunks/plain.js", False),
        ("/static/admin/css/unusable_password_field.css", False),
        ("/other/dist/assets/board-PlhUqBbu.css", False),
    ],
)
def test_only_files_named_by_their_contents_are_cached_for_ever(url: str, immutable: bool) -> None:
    async def nothing(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    assert StaticMiddleware(nothing).immutable_file_test("", url) is immutable
