"""The lean HTTP consumer: bodies, methods, hosts, origins, ids and problems, over real ASGI calls."""

import asyncio
import contextlib
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from channels.routing import URLRouter
from django.urls import re_path
from hypothesis import given
from hypothesis import strategies as st

from durable.errors import (
    EventTimeoutError,
    ObjectResetError,
    OverloadedError,
    RemoteError,
    StorageError,
    UnavailableError,
)
from durable.gateway.bodies import Int64, decode_json
from durable.gateway.http import (
    ApiNotFound,
    HttpConsumer,
    Problem,
    Request,
    Response,
    decode_segment,
    json_response,
)
from durable.gateway.problems import problem_from


class Body(msgspec.Struct, forbid_unknown_fields=True):
    number: Int64 = 1
    text: str = ""
    inner: list[int] = []


class Echo(HttpConsumer):
    """Shows what it was sent."""

    max_body = 1000

    async def get(self, request: Request) -> Response:
        return json_response({"name": request.kwargs["name"], "query": request.query})

    async def post(self, request: Request) -> Response:
        return json_response(await request.json(Body, Body()))


class Failing(HttpConsumer):
    """Raises what the test gave it."""

    declared_errors = {"TooHigh": (409, "too_high")}

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def get(self, _request: Request) -> Response:
        raise self.error


class RawRouting:
    """Puts the raw path where the project's entry point puts it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, "path_remaining": scope["raw_path"].decode("latin-1")}, receive, send)


def client(consumer: Any = None) -> httpx.AsyncClient:
    app = URLRouter(
        [re_path(r"^echo/(?P<name>[^/]*)$", consumer or Echo.as_asgi()), re_path(r"", ApiNotFound.as_asgi())]
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(RawRouting(app)), base_url="http://localhost")


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(document)
    assert document["status"] == status
    assert document["code"] == code
    assert document["request_id"] == response.headers["x-request-id"]
    return document


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a", "a"),
        ("a%2Fb", "a/b"),
        ("%C3%A9", "é"),
        ("%F0%9F%98%80", "😀"),
        ("%2e%2e", ".."),
        ("a%20b+c", "a b+c"),
        ("%252F", "%2F"),
    ],
)
async def test_names_are_percent_decoded_from_the_raw_path(path: str, name: str) -> None:
    async with client() as http:
        answer = await http.get(httpx.URL("http://localhost", raw_path=f"/echo/{path}".encode()))
    assert answer.json()["name"] == name


async def test_a_path_that_is_not_utf8_is_400() -> None:
    async with client() as http:
        assert_problem(await http.get(httpx.URL("http://localhost", raw_path=b"/echo/%ff")), 400, "bad_path")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_encoding_into_a_segment(text: str) -> None:
    assert decode_segment(quote(text, safe="")) == text


async def test_an_unknown_path_is_a_problem() -> None:
    async with client() as http:
        assert_problem(await http.get("/nowhere"), 404, "not_found")
        assert_problem(await http.post("/nowhere"), 404, "not_found")


async def test_head_follows_get_without_a_body() -> None:
    async with client() as http:
        head, get = await http.head("/echo/a"), await http.get("/echo/a")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_options_and_405_name_the_methods() -> None:
    async with client() as http:
        options = await http.options("/echo/a")
        refused = await http.delete("/echo/a")
    assert options.status_code == 204
    assert options.headers["allow"] == "GET, POST, HEAD, OPTIONS"
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, POST, HEAD, OPTIONS"


JSON = {"content-type": "application/json"}

BAD_BODIES = [
    (b"{", 400, "bad_json", None),
    (b"", 200, None, None),
    (b"nonsense", 400, "bad_json", None),
    (b'{"number":NaN}', 400, "bad_json", None),
    (b'{"number":Infinity}', 400, "bad_json", None),
    (b'{"text":"\xff"}', 400, "bad_json", None),
    (b'{"text":"\\ud800"}', 400, "bad_json", None),
    (b'{"text":"\xed\xa0\x80"}', 400, "bad_json", None),
    (b'{"number":1}{"number":2}', 400, "bad_json", None),
    (b'{"number":"1"}', 422, "invalid", "/number"),
    (b'{"number":1.0}', 422, "invalid", "/number"),
    (b'{"number":true}', 422, "invalid", "/number"),
    (b'{"number":null}', 422, "invalid", "/number"),
    (b'{"number":9223372036854775808}', 422, "invalid", "/number"),
    (b'{"number":-9223372036854775809}', 422, "invalid", "/number"),
    (b'{"number":' + b"9" * 400 + b"}", 422, "invalid", "/number"),
    (b'{"number":1,"number":2}', 422, "invalid", "/number"),
    (b'{"number":1,"n\\u0075mber":2}', 422, "invalid", "/number"),
    (b'{"inner":[1,"x"]}', 422, "invalid", "/inner/1"),
    (b'{"other/thing~":1}', 422, "invalid", "/other~1thing~0"),
    (b"[]", 422, "invalid", ""),
    (b"null", 422, "invalid", ""),
    (b"[" * 900, 422, "invalid", ""),
    (b'{"text":"' + b"x" * 1000 + b'"}', 413, "body_too_large", None),
]


@pytest.mark.parametrize(("body", "status", "code", "pointer"), BAD_BODIES, ids=lambda value: str(value)[:40])
async def test_bad_bodies_are_refused(
    body: bytes, status: int, code: str | None, pointer: str | None
) -> None:
    async with client() as http:
        answer = await http.post("/echo/a", content=body, headers=JSON)
    if code is None:
        assert answer.status_code == status
        return
    document = assert_problem(answer, status, code)
    if pointer is not None:
        assert [error["pointer"] for error in document["errors"]] == [pointer]


@pytest.mark.parametrize(
    "body", [b'{"number":9223372036854775807}', b'{"text":"number: \\u00e9 \\"number\\""}']
)
async def test_good_bodies_pass(body: bytes) -> None:
    async with client() as http:
        assert (await http.post("/echo/a", content=body, headers=JSON)).status_code == 200


@given(st.binary(max_size=60))
def test_no_body_breaks_the_decoder(body: bytes) -> None:
    with contextlib.suppress(Problem):
        assert isinstance(decode_json(body, Body), Body)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
async def test_another_content_type_is_415(kind: str) -> None:
    async with client() as http:
        answer = await http.post("/echo/a", content=b"{}", headers={"content-type": kind})
    assert_problem(answer, 415, "unsupported_media_type")


async def test_a_compressed_body_is_415() -> None:
    async with client() as http:
        answer = await http.post("/echo/a", content=b"{}", headers={**JSON, "content-encoding": "gzip"})
        assert_problem(answer, 415, "unsupported_media_type")
        assert answer.headers["accept-encoding"] == "identity"
        plain = {**JSON, "content-encoding": "Identity"}
        assert (await http.post("/echo/a", content=b'{"by": 1}', headers=plain)).status_code != 415


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"]
)
async def test_json_content_types_are_accepted(kind: str) -> None:
    async with client() as http:
        assert (await http.post("/echo/a", content=b"{}", headers={"content-type": kind})).status_code == 200


async def test_a_large_body_is_refused_before_all_of_it_was_read() -> None:
    taken = 0

    async def chunks() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 400

    sent: list[dict[str, Any]] = []
    source = chunks()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(source), "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "path": "/",
        "url_route": {"kwargs": {}},
    }
    await Echo()(scope, receive, send)
    assert sent[0]["status"] == 413
    assert taken == 3


async def test_a_client_that_goes_away_gets_no_answer() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")], "path": "/"}
    await Echo()(scope, receive, send)


@pytest.mark.parametrize("host", ["evil.example", "", "localhost@evil", "localhost, evil"])
async def test_unknown_hosts_are_refused(host: str, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
    async with client() as http:
        for path in ("/echo/a", "/nowhere"):
            assert_problem(await http.get(path, headers={"host": host}), 400, "host_not_allowed")


async def test_allowed_hosts_are_followed_when_they_change(settings: Any) -> None:
    async with client() as http:
        settings.ALLOWED_HOSTS = ["one.example"]
        assert (await http.get("/echo/a", headers={"host": "one.example:8000"})).status_code == 200
        settings.ALLOWED_HOSTS = [".two.example"]
        assert (await http.get("/echo/a", headers={"host": "one.example:8000"})).status_code == 400
        assert (await http.get("/echo/a", headers={"host": "www.TWO.example"})).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://localhost", 403),
        ("http://localhost:9", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("https://trusted.example", 200),
        ("https://a.wild.example", 200),
        ("https://evilwild.example", 403),
        ("http://a.wild.example", 403),
    ],
)
async def test_unsafe_requests_from_other_origins_are_refused(
    origin: str, status: int, settings: Any
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example", "https://*.wild.example"]
    async with client() as http:
        assert (await http.post("/echo/a", headers={"origin": origin})).status_code == status
        assert (await http.get("/echo/a", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("é", False), ("", False)]
)
async def test_a_sane_request_id_is_kept(given: str, kept: bool) -> None:
    async with client() as http:
        answer = await http.get("/echo/a", headers={"x-request-id": given.encode()})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverloadedError("queue of 1000"), 503, "overloaded"),
        (OverloadedError("a repeat", delivered="unknown"), 503, "overloaded"),
        (ObjectResetError("gone"), 503, "object_reset"),
        (UnavailableError("no worker"), 503, "unavailable"),
        (UnavailableError("no worker", delivered="unknown"), 503, "unavailable"),
        (EventTimeoutError("in a task", delivered="unknown"), 504, "event_timeout"),
        (EventTimeoutError("30 s"), 504, "event_timeout"),
        (StorageError("secret path"), 500, "storage_error"),
        (RemoteError("KeyError", "secret"), 500, "remote_error"),
        (RemoteError("TooHigh", "over the top", {"max": 3}, declared=True), 409, "too_high"),
        (RemoteError("Other", "meant for you", declared=True), 409, "object_error"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
async def test_errors_become_problems(error: Exception, status: int, code: str) -> None:
    async with client(Failing.as_asgi(error=error)) as http:
        answer = await http.get("/echo/a")
    document = assert_problem(answer, status, code)
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503 and document["delivered"] == "no")
    if status in (503, 504):
        known = "not known" not in document["detail"]
        assert known is (document["delivered"] == "no")
        assert ("undone" in document["detail"] or "Nothing was done" in document["detail"]) is known
    if code == "too_high":
        assert document["detail"] == "over the top"
        assert document["max"] == 3


def test_fields_of_an_error_cannot_replace_a_problems_members() -> None:
    problem = problem_from(
        RemoteError("E", "text", {"status": 200, "headers": [], "low": 1}), {"E": (409, "e")}
    )
    assert problem.document("r")["status"] == 409
    assert problem.document("r")["low"] == 1


async def test_a_query_has_up_to_50_parameters() -> None:
    query = "&".join(f"a{number}=1" for number in range(50))
    async with client() as http:
        assert (await http.get(f"/echo/a?{query}")).status_code == 200
        refused = await http.get(f"/echo/a?{query}&one=more")
    assert "more than 50 parameters" in assert_problem(refused, 400, "bad_query")["detail"]


async def test_a_query_that_is_not_utf8_is_400() -> None:
    async with client() as http:
        answer = await http.get(httpx.URL("http://localhost", raw_path=b"/echo/a?q=%ff"))
        assert_problem(answer, 400, "bad_query")
        assert (await http.get("/echo/a?q=1&q=2&r")).json()["query"] == {"q": "2", "r": ""}


async def test_a_request_under_way_when_the_process_ends_is_told_that_nobody_knows() -> None:
    class Waiting(HttpConsumer):
        """Never done."""

        async def get(self, request: Request) -> Response:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

    begun, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}
    serving = asyncio.create_task(Waiting()(scope, receive, send))
    await begun.wait()
    serving.cancel()  # what uvicorn does with requests that outlast its patience
    await serving
    assert sent[0]["status"] == 503
    told = msgspec.json.decode(sent[1]["body"])
    assert (told["code"], told["delivered"]) == ("unavailable", "unknown")
