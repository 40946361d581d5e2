"""Objects that answer HTTP: through the ordinary call path, and only where a project mounts them."""

import asyncio
import contextlib
import socket
from io import StringIO
from typing import Any

import httpx
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command

from durable import DurableObject, ObjectError, RemoteError, Request, Response
from durable.errors import NotCallableError, ValueRefusedError
from durable.gateway import object_urls
from durable.gateway.auth import require
from durable.gateway.http import HttpConsumer, Principal
from durable.gateway.paths import PathRouter
from durable.runtime.namespace import dispatch
from durable.testing import LocalObjects
from tests.asgi_client import asgi_client, raw
from tests.durable.lab import Lab

MIB = 1024 * 1024


class TakenError(ObjectError):
    """The page exists."""


class Page(DurableObject):
    """Serves what was put."""

    async def fetch(self, request: Request) -> Response:
        storage = self.ctx.storage
        match request.method:
            case "PUT":
                storage.put("body", request.body)
                return Response(204, headers={"etag": '"1"'})
            case "POST":
                count = storage.get("count", 0) + 1
                storage.put("count", count)
                return Response.json({"count": count, "got": len(request.body)}, 201)
            case "DELETE":
                storage.put("half", True)
                raise TakenError("no", by="nobody")
            case "PATCH":
                storage.put("large", True)
                return Response(200, bytes(int(request.query["size"])))
        if request.path == "/echo":
            return Response.json(
                {
                    "name": self.ctx.id.name,
                    "query": request.query,
                    "query_string": request.query_string,
                    "headers": request.headers,
                    "caller": request.caller,
                    "client": request.client_address,
                }
            )
        if request.path == "/cookies":
            return Response(
                200, b"", {"Set-Cookie": ["a=1", "b=2"], "Content-Length": "77", "Connection": "close"}
            )
        return Response.text(f"{request.path} {storage.get('body')!r}")

    async def half(self) -> bool:
        return self.ctx.storage.get("half", False)


page = Page.namespace.get_by_name


async def test_C11_an_object_answers_a_request(local: LocalObjects) -> None:
    assert (await local.fetch(page("a"), "PUT", body=b"hello")).status == 204
    answer = await local.fetch(page("a"), path="/x")
    assert (answer.status, answer.body) == (200, b"/x b'hello'")
    assert answer.headers == {"content-type": "text/plain; charset=utf-8"}
    assert (await local.fetch(page("b"))).body == b"/ None"


async def test_G4_a_response_leaves_when_it_is_durable(local: LocalObjects) -> None:
    with local.commits.held():
        answering = asyncio.create_task(local.fetch(page("a"), "POST"))
        await local.commits.waiting()
        await local.settle()
        assert not answering.done()
    assert (await answering).body == b'{"count":1,"got":0}'


async def test_C6_a_request_whose_owner_dies_takes_effect_once(local: LocalObjects) -> None:
    local.commits.hold()
    answering = asyncio.create_task(local.fetch(page("a"), "POST", body=b"x"))
    await local.commits.waiting()
    local.commits.pass_through()
    await local.crash()
    assert (await answering).body == b'{"count":1,"got":1}'
    assert (await local.fetch(page("a"), "POST")).body == b'{"count":2,"got":0}'


async def test_C5_a_request_that_raises_leaves_no_trace(local: LocalObjects) -> None:
    with pytest.raises(RemoteError) as raised:
        await local.fetch(page("a"), "DELETE")
    assert (raised.value.error_type, raised.value.fields) == ("TakenError", {"by": "nobody"})
    assert not await page("a").half()


@pytest.mark.parametrize("name", ["fetch", "_do_fetch"])
async def test_C3_fetch_is_no_method(local: LocalObjects, name: str) -> None:
    with pytest.raises(NotCallableError):
        await getattr(page("a"), name)(Request())


async def test_C11_a_class_without_fetch_answers_nothing(local: LocalObjects) -> None:
    with pytest.raises(NotCallableError, match="no fetch"):
        await local.fetch(Lab.namespace.get_by_name("a"))
    with pytest.raises(TypeError, match="has no fetch hook"):
        object_urls(Lab, "lab/<name>/")


async def test_C9_a_body_may_have_32_MiB(local: LocalObjects) -> None:
    answer = await local.fetch(page("a"), "POST", body=bytes(32 * MIB))
    assert answer.body == b'{"count":1,"got":%d}' % (32 * MIB)
    with pytest.raises(ValueRefusedError):
        await local.fetch(page("a"), "POST", body=bytes(32 * MIB + 1))
    # Also as the answer of a request that wrote, which is kept until its caller has it.
    assert len((await local.fetch(page("a"), "PATCH", query={"size": str(32 * MIB)})).body) == 32 * MIB
    with pytest.raises(ValueRefusedError):
        await local.fetch(page("a"), "PATCH", query={"size": str(32 * MIB + 1)})


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Response(99), ValueError),
        (lambda: Response(200, "text"), TypeError),  # type: ignore[arg-type]
        (lambda: Response(200, b"", {"a b": "c"}), ValueError),
        (lambda: Response(200, b"", {"a": "b\r\nc: d"}), ValueError),
        (lambda: Response(200, b"", {"a": ["b", "\0"]}), ValueError),
        (lambda: Response(200, b"", {"a": "😀"}), ValueError),
        (lambda: Request(body=b"{").json(), ValueError),
    ],
)
def test_responses_that_cannot_be_sent(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Response(200, b"", {"x-count": 5}), "'x-count': 5"),  # type: ignore[dict-item]
        (lambda: Response(200, b"", {"a": None}), "'a': None"),  # type: ignore[dict-item]
        (lambda: Response(200, b"", {"a": ["b", 5]}), "'a': 5"),  # type: ignore[list-item]
        (lambda: Response(200, b"", [("a", "b")]), "a dict, not list"),  # type: ignore[arg-type]
        (lambda: Response.text(5), "takes a text, not int"),  # type: ignore[arg-type]
    ],
)
def test_a_response_says_what_is_wrong_with_it(make: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


# -- over HTTP

PAGES = object_urls(Page, "pages/<name>/")


@pytest.mark.parametrize(
    ("address", "name", "path"),
    [
        ("/pages/a/echo", "a", "/echo"),
        ("/pages/%C3%A9%2F%20/echo", "é/ ", "/echo"),
        ("/pages/%2E%2E/%65cho", "..", "/echo"),
    ],
)
async def test_names_and_paths_over_http(local: LocalObjects, address: str, name: str, path: str) -> None:
    async with asgi_client(PAGES) as client:
        found = (await client.get(raw(f"{address}?a=1&b=%20"), headers={"X-One": "1"})).json()
    assert found["name"] == name
    assert (found["query"], found["query_string"]) == ({"a": "1", "b": " "}, "a=1&b=%20")
    assert found["headers"]["x-one"] == "1"
    assert "connection" not in found["headers"]
    assert (found["caller"], found["client"]) == ("", "127.0.0.1")


async def test_C11_methods_and_headers_over_http(local: LocalObjects) -> None:
    async with asgi_client(PAGES) as client:
        put = await client.put("/pages/a/", content=b"hello")
        assert (put.status_code, put.headers["etag"], put.content) == (204, '"1"', b"")
        assert (await client.get("/pages/a/")).text == "/ b'hello'"
        head = await client.head("/pages/a/deep/er")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "17")
        assert (await client.post("/pages/a/", content=b"123")).json() == {"count": 1, "got": 3}
        cookies = await client.get("/pages/a/cookies")
        assert cookies.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert cookies.headers["content-length"] == "0"
        assert "connection" not in cookies.headers
        refused = await client.delete("/pages/a/")
        assert (refused.status_code, refused.json()["error_type"]) == (409, "TakenError")
        assert (await client.options("/pages/a/")).status_code == 204
        assert (await client.get("/pages/a")).status_code == 404
        assert (await client.get(raw("/pages/%00/"))).json()["code"] == "invalid_name"
        assert (await client.post("/pages/a/", headers={"Origin": "https://evil.example"})).status_code == 403


class Form(DurableObject):
    """Takes JSON."""

    taken = 0

    async def fetch(self, request: Request) -> Response:
        self.taken += 1
        return Response.json({"taken": self.taken, "got": request.json()})


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":NaN}', b'"\xff"', b"[" * 100_000])
async def test_a_body_that_is_no_json_is_the_clients_fault(local: LocalObjects, body: bytes) -> None:
    async with asgi_client(object_urls(Form, "forms/<name>")) as client:
        refused = await client.post("/forms/a", content=body)
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_json")
        assert (await client.post("/forms/a", content=b"[1]")).json() == {"taken": 2, "got": [1]}


async def test_C9_bodies_over_http(local: LocalObjects) -> None:
    async def chunks(size: int) -> Any:
        for _ in range(size // MIB):
            yield bytes(MIB)

    async with asgi_client(PAGES) as client:
        assert (await client.post("/pages/a/", content=chunks(32 * MIB))).json()["got"] == 32 * MIB
        assert (await client.post("/pages/a/", content=chunks(33 * MIB))).status_code == 413
        assert (await client.get("/pages/a/")).status_code == 200


async def test_C11_over_a_real_connection(local: LocalObjects) -> None:
    app = PathRouter(PAGES)

    async def only_http(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(only_http, lifespan="off", log_level="warning"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # they are pytest's
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}/pages/%C3%A9%2F/"
            async with httpx.AsyncClient(timeout=30) as client:
                assert (await client.put(address, content=b"hello")).status_code == 204
                assert (await client.get(f"{address}a%20b")).text == "/a b b'hello'"
                big = await client.patch(f"{address}?size={32 * MIB}")
                assert (big.status_code, len(big.content)) == (200, 32 * MIB)
                assert (await client.head(address)).headers["content-length"] == "10"
        finally:
            server.should_exit = True
            await serving


async def test_a_mount_may_require_somebody(local: LocalObjects) -> None:
    async def somebody(request: Any) -> Principal:
        return Principal("user:alice")

    async with asgi_client(object_urls(Page, "me/<name>", requires=somebody)) as client:
        assert (await client.get("/me/a/echo")).json()["caller"] == "user:alice"
        assert (await client.get("/me/a")).text == " None"


@pytest.mark.django_db
async def test_a_mount_may_require_a_token(local: LocalObjects) -> None:
    async with asgi_client(object_urls(Page, "me/<name>/", requires=require("objects"))) as client:
        assert (await client.get("/me/a/echo")).status_code == 401


@pytest.mark.django_db(transaction=True)
async def test_a_mount_may_require_a_scope_of_its_own(local: LocalObjects, settings: Any) -> None:
    def make_token() -> str:
        out = StringIO()
        call_command("api_token", "create", "reader", scopes="pages", stdout=out, stderr=StringIO())
        return out.getvalue().strip()

    with pytest.raises(CommandError, match=r'settings\.DURABLE\["api_scopes"\]'):
        await sync_to_async(make_token)()
    settings.DURABLE = {**settings.DURABLE, "api_scopes": ("objects", "pages")}
    token = await sync_to_async(make_token)()
    async with asgi_client(object_urls(Page, "me/<name>/", requires=require("pages"))) as client:
        answer = await client.get("/me/a/echo", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.json()["caller"].startswith("token:")


@pytest.mark.parametrize(
    "route", ["pages/", "/pages/<name>/", "<name>/<name>/", "p<name>/", "<name>/<other>/"]
)
def test_routes_that_do_not_name_an_object(route: str) -> None:
    with pytest.raises(ValueError, match="must have <name> once"):
        object_urls(Page, route)


def test_each_mount_has_a_consumer_of_its_own() -> None:
    [first], [second] = object_urls(Page, "a/<name>/"), object_urls(Page, "b/<name>/")
    assert isinstance(first.callback.__self__, HttpConsumer)
    assert first.callback.__self__ is not second.callback.__self__
    assert dispatch is not None
