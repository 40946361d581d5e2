"""Tokens, scopes, open scopes and staff sessions."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import re_path

from durable.gateway.auth import forget_tokens, require
from durable.gateway.http import HttpConsumer, Request, Response, json_response
from durable.models import ApiToken

pytestmark = pytest.mark.django_db(transaction=True)


class Who(HttpConsumer):
    """Tells the caller who it is."""

    async def get(self, request: Request) -> Response:
        return json_response({"name": request.principal.name})

    async def put(self, request: Request) -> Response:
        return await self.get(request)


class Counters(Who):
    requires = require("counters")


class Policies(Who):
    requires = require(
        "limiter", staff={"GET": ["limiter.view_policy"], "PUT": ["limiter.change_policy"]}, always=True
    )


class Objects(Who):
    requires = require("objects")


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    forget_tokens()
    yield
    forget_tokens()


@pytest.fixture
def api_auth(settings: Any) -> Any:
    def choose(value: str) -> None:
        settings.DURABLE = {**settings.DURABLE, "api_auth": value}

    choose("token")
    return choose


@pytest.fixture
async def http(api_auth: Any) -> Any:
    app = URLRouter(
        [
            re_path(r"^counters$", Counters.as_asgi()),
            re_path(r"^policies$", Policies.as_asgi()),
            re_path(r"^objects$", Objects.as_asgi()),
        ]
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


async def issue(*scopes: str) -> dict[str, str]:
    _, text = await database_sync_to_async(ApiToken.issue)("test", list(scopes))
    return {"authorization": f"Bearer {text}"}


async def test_no_token_is_401_with_a_challenge(http: httpx.AsyncClient) -> None:
    answer = await http.get("/counters")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer nonsense",
        "Bearer dr_0123456789_wrong",
        "Bearer " + "x" * 5000,
        "Bearer é",
    ],
)
async def test_a_token_that_is_none_is_401(http: httpx.AsyncClient, header: str) -> None:
    answer = await http.get("/counters", headers={"authorization": header.encode()})
    assert answer.status_code == 401


async def test_a_token_opens_its_scopes_only(http: httpx.AsyncClient) -> None:
    token = await issue("counters")
    assert (await http.get("/counters", headers=token)).json()["name"].startswith("token:")
    refused = await http.get("/objects", headers=token)
    assert refused.status_code == 403
    assert refused.json()["scope"] == "objects"


async def test_a_revoked_token_ends_with_the_cache(http: httpx.AsyncClient) -> None:
    token = await issue("counters")
    assert (await http.get("/counters", headers=token)).status_code == 200
    await database_sync_to_async(lambda: ApiToken.objects.get().revoke())()
    forget_tokens()
    assert (await http.get("/counters", headers=token)).status_code == 401


async def test_open_covers_counters_and_limiter_only(http: httpx.AsyncClient, api_auth: Any) -> None:
    api_auth("open")
    assert (await http.get("/counters")).status_code == 200
    assert (await http.get("/policies")).status_code == 401
    assert (await http.get("/objects")).status_code == 401
    assert (await http.get("/counters", headers={"authorization": "Bearer wrong"})).status_code == 401


async def session_of(user: User) -> dict[str, str]:
    def login() -> str:
        client = Client()
        client.force_login(user)
        return client.cookies["sessionid"].value

    return {"cookie": f"theme=dark; sessionid={await database_sync_to_async(login)()}"}


async def staff(name: str, *permissions: str) -> User:
    def make() -> User:
        user = User.objects.create_user(name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        return user

    made: User = await database_sync_to_async(make)()
    return made


async def test_a_staff_session_manages_policies_from_our_own_pages(http: httpx.AsyncClient) -> None:
    cookie = await session_of(await staff("ann", "view_policy", "change_policy"))
    assert (await http.get("/policies", headers=cookie)).json()["name"] == "user:ann"
    assert (await http.put("/policies", headers=cookie)).json()["code"] == "origin_required"
    assert (await http.put("/policies", headers={**cookie, "origin": "http://localhost"})).status_code == 200
    assert (
        await http.put("/policies", headers={**cookie, "origin": "http://evil.example"})
    ).status_code == 403
    assert (await http.get("/counters", headers=cookie)).status_code == 401


async def test_a_staff_session_opens_what_its_permissions_say(http: httpx.AsyncClient) -> None:
    origin = {"origin": "http://localhost"}
    viewer = {**await session_of(await staff("ann", "view_policy")), **origin}
    assert [(await http.request(m, "/policies", headers=viewer)).status_code for m in ("GET", "HEAD")] == [
        200
    ] * 2
    refused = await http.put("/policies", headers=viewer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    nobody = {**await session_of(await staff("bob")), **origin}
    assert [(await http.request(m, "/policies", headers=nobody)).status_code for m in ("GET", "PUT")] == [
        403
    ] * 2


@pytest.mark.parametrize("flags", [{"is_staff": False}, {"is_staff": True, "is_active": False}])
async def test_other_sessions_open_nothing(http: httpx.AsyncClient, flags: dict[str, bool]) -> None:
    user = await database_sync_to_async(User.objects.create_user)("bob", **flags)
    assert (await http.get("/policies", headers=await session_of(user))).status_code == 401


@pytest.mark.parametrize("cookie", ["sessionid=unknown", "sessionid=", "][;=", "é=é"])
async def test_strange_cookies_open_nothing(http: httpx.AsyncClient, cookie: str) -> None:
    assert (await http.get("/policies", headers={"cookie": cookie.encode()})).status_code == 401
