"""The limiter's REST endpoints, as the contract has them."""

import asyncio
from typing import Any

import httpx
import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.test import Client

from durable.models import AuditEntry
from durable.testing import LocalObjects
from limiter.models import Policy
from limiter.policies import forget_policies
from limiter.routing import http_urlpatterns
from tests.asgi_client import asgi_client, raw

LIMITERS = "/api/v1/limiters"


@pytest.fixture
async def login(http: httpx.AsyncClient, token: dict[str, str]) -> str:
    """The path of a policy of 5 in 60 s."""
    await http.put(f"{LIMITERS}/login", json={"limit": 5, "window_seconds": 60}, headers=token)
    return f"{LIMITERS}/login"


async def test_a_policy_is_made_read_replaced_and_deleted(
    http: httpx.AsyncClient, token: dict[str, str]
) -> None:
    url = f"{LIMITERS}/login"
    made = await http.put(url, json={"limit": 5, "window_seconds": 60}, headers=token)
    assert made.status_code == 201
    expected = {
        "name": "login",
        "algorithm": "sliding_window",
        "limit": 5,
        "window_seconds": 60,
        "burst": None,
        "shards": 16,
        "built_in": False,
    }
    assert expected.items() <= made.json().items()
    assert (await http.get(url, headers=token)).json() == made.json()
    replaced = await http.put(
        url,
        json={"name": "login", "algorithm": "gcra", "limit": 7, "window_seconds": 1, "burst": 2},
        headers=token,
    )
    assert (replaced.status_code, replaced.json()["burst"]) == (200, 2)
    assert (await http.delete(url, headers=token)).status_code == 204
    assert (await http.get(url, headers=token)).json()["code"] == "no_such_policy"
    assert (await http.delete(url, headers=token)).status_code == 404
    assert (await http.post(f"{url}/check", json={"key": "a"})).status_code == 404


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"limit": 0}, "/limit", "invalid"),
        ({"limit": 1_000_001}, "/limit", "invalid"),
        ({"limit": "5"}, "/limit", "invalid"),
        ({"limit": None}, "/limit", "invalid"),
        ({"window_seconds": 0}, "/window_seconds", "invalid"),
        ({"window_seconds": -1}, "/window_seconds", "invalid"),
        ({"window_seconds": 10**9}, "/window_seconds", "invalid"),
        ({"burst": 0}, "/burst", "invalid"),
        ({"shards": 0}, "/shards", "invalid"),
        ({"shards": 5000}, "/shards", "invalid"),
        ({"algorithm": "concurrency"}, "/algorithm", "unsupported_algorithm"),
        ({"algorithm": "magic"}, "/algorithm", "invalid"),
        ({"name": "other"}, "/name", "invalid"),
        ({"colour": "red"}, "/colour", "invalid"),
    ],
)
async def test_bad_policies_are_refused(
    http: httpx.AsyncClient, token: dict[str, str], change: dict[str, Any], pointer: str, code: str
) -> None:
    body = {"limit": 5, "window_seconds": 60, **change}
    answer = await http.put(f"{LIMITERS}/login", json=body, headers=token)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert not await database_sync_to_async(Policy.objects.exists)()


@pytest.mark.parametrize("name", ["a%2Fb", "-a", "x" * 65, "caf%C3%A9", "a%20b", "%00"])
async def test_bad_policy_names_are_refused(
    http: httpx.AsyncClient, token: dict[str, str], name: str
) -> None:
    answer = await http.put(raw(f"{LIMITERS}/{name}"), json={"limit": 1, "window_seconds": 1}, headers=token)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_name")
    assert (await http.post(raw(f"{LIMITERS}/{name}/check"), json={"key": "a"})).status_code == 404


async def test_policies_are_never_open(http: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await http.request(method, f"{LIMITERS}/demo")).status_code == 401


async def test_staff_without_permissions_change_no_policy(http: httpx.AsyncClient, login: str) -> None:
    def sign_in() -> str:
        client = Client()
        client.force_login(User.objects.create_user("trainee", is_staff=True))
        return client.cookies["sessionid"].value

    session = {
        "cookie": f"sessionid={await database_sync_to_async(sign_in)()}",
        "origin": "http://localhost",
    }
    body = {"limit": 1_000_000, "window_seconds": 1}
    answers = [
        await http.get(login, headers=session),
        await http.put(login, json=body, headers=session),
        await http.delete(login, headers=session),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert await database_sync_to_async(Policy.objects.get)(limit=5)


async def test_changes_of_policies_are_in_the_audit_log(
    http: httpx.AsyncClient, login: str, token: dict[str, str]
) -> None:
    await http.delete(login, headers=token)
    await http.delete(login, headers=token)  # there is none any more
    entries = await database_sync_to_async(lambda: list(AuditEntry.objects.order_by("id")))()
    assert [(entry.what, entry.name, entry.who[:6]) for entry in entries] == [
        ("policy.save", "login", "token:"),
        ("policy.delete", "login", "token:"),
    ]
    assert entries[0].details["limit"] == 5


async def test_checks_need_a_token_unless_open(http: httpx.AsyncClient, login: str, settings: Any) -> None:
    settings.DURABLE = {**settings.DURABLE, "api_auth": "token"}
    for method, path in (("POST", "check"), ("POST", "reset"), ("GET", "gate?key=a")):
        assert (await http.request(method, f"{login}/{path}")).status_code == 401


async def test_checks_count_down_and_then_refuse(
    http: httpx.AsyncClient, login: str, local: LocalObjects
) -> None:
    for remaining in (4, 3, 2, 1, 0):
        answer = await http.post(f"{login}/check", json={"key": "1.2.3.4"})
        assert answer.status_code == 200
        assert answer.json() == {
            "allowed": True,
            "limit": 5,
            "remaining": remaining,
            "reset_after": 60.0,
            "retry_after": 0.0,
            "policy": "login",
            "key": "1.2.3.4",
        }
        assert answer.headers["ratelimit-policy"] == '"login";q=5;w=60'
        assert answer.headers["ratelimit"] == f'"login";r={remaining};t=60'
        assert "retry-after" not in answer.headers
    local.clock.advance(29.5)
    refused = await http.post(f"{login}/check", json={"key": "1.2.3.4"})
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/json"
    assert refused.json().items() >= {"allowed": False, "remaining": 0, "retry_after": 30.5}.items()
    assert refused.headers["ratelimit"] == '"login";r=0;t=31'
    assert refused.headers["retry-after"] == "31"
    local.clock.advance(30.5)
    assert (await http.post(f"{login}/check", json={"key": "1.2.3.4"})).status_code == 200


async def test_concurrent_checks_admit_exactly_the_limit(http: httpx.AsyncClient, login: str) -> None:
    answers = await asyncio.gather(*(http.post(f"{login}/check", json={"key": "k"}) for _ in range(30)))
    assert [answer.status_code for answer in answers].count(200) == 5


async def test_costs_and_looking(http: httpx.AsyncClient, login: str) -> None:
    async def check(cost: int) -> dict[str, Any]:
        answer = await http.post(f"{login}/check", json={"key": "k", "cost": cost})
        return {"status": answer.status_code, **answer.json()}

    assert (await check(0))["remaining"] == 5
    assert (await check(3))["remaining"] == 2
    assert (await check(3))["status"] == 429
    assert (await check(0))["remaining"] == 2
    assert (await check(2))["remaining"] == 0
    assert (await check(0)).items() >= {"status": 200, "allowed": True, "remaining": 0}.items()


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/key", "invalid"),
        ({"key": ""}, "/key", "invalid"),
        ({"key": "x" * 513}, "/key", "invalid"),
        ({"key": "a\0b"}, "/key", "invalid"),
        ({"key": 5}, "/key", "invalid"),
        ({"key": None}, "/key", "invalid"),
        ({"key": "a", "cost": -1}, "/cost", "invalid"),
        ({"key": "a", "cost": 1.5}, "/cost", "invalid"),
        ({"key": "a", "cost": "1"}, "/cost", "invalid"),
        ({"key": "a", "cost": 6}, "/cost", "cost_too_high"),
        ({"key": "a", "cost": 2**64}, "/cost", "invalid"),
        ({"key": "a", "price": 1}, "/price", "invalid"),
        ([], "", "invalid"),
    ],
)
async def test_bad_checks_are_refused(
    http: httpx.AsyncClient, login: str, body: Any, pointer: str, code: str
) -> None:
    answer = await http.post(f"{login}/check", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"key":"\\ud800"}', "application/json", 400),
        (b'{"key":"a","cost":NaN}', "application/json", 400),
        (b'{"key":"a","key":"b"}', "application/json", 422),
        (b'{"key":"a"}', "text/plain", 415),
        (b'{"key":"' + b"x" * 70_000 + b'"}', "application/json", 413),
    ],
)
async def test_bad_bodies_are_refused(
    http: httpx.AsyncClient, login: str, content: bytes, kind: str, status: int
) -> None:
    answer = await http.post(f"{login}/check", content=content, headers={"content-type": kind})
    assert answer.status_code == status


@pytest.mark.parametrize("algorithm", ["gcra", "token_bucket"])
async def test_a_burst_bounds_the_cost(
    http: httpx.AsyncClient, token: dict[str, str], algorithm: str
) -> None:
    body = {"algorithm": algorithm, "limit": 100, "window_seconds": 10, "burst": 3}
    await http.put(f"{LIMITERS}/api", json=body, headers=token)
    refused = await http.post(f"{LIMITERS}/api/check", json={"key": "a", "cost": 4})
    assert (refused.status_code, refused.json()["code"]) == (422, "cost_too_high")
    answer = await http.post(f"{LIMITERS}/api/check", json={"key": "a", "cost": 3})
    assert (
        answer.json().items() >= {"allowed": True, "limit": 100, "remaining": 0, "reset_after": 0.3}.items()
    )
    later = await http.post(f"{LIMITERS}/api/check", json={"key": "a"})
    assert (later.status_code, later.json()["retry_after"], later.headers["retry-after"]) == (429, 0.1, "1")


async def test_an_edited_policy_counts_at_once(
    http: httpx.AsyncClient, token: dict[str, str], login: str
) -> None:
    assert (await http.post(f"{login}/check", json={"key": "a", "cost": 5})).status_code == 200
    await http.put(login, json={"limit": 8, "window_seconds": 60}, headers=token)
    assert (await http.post(f"{login}/check", json={"key": "a", "cost": 3})).json()["remaining"] == 0


async def test_an_edit_in_the_admin_counts_after_the_cache(http: httpx.AsyncClient, login: str) -> None:
    await http.post(f"{login}/check", json={"key": "a", "cost": 5})
    await database_sync_to_async(lambda: Policy.objects.update(limit=6))()
    forget_policies()
    assert (await http.post(f"{login}/check", json={"key": "a"})).json()["limit"] == 6


async def test_reset_forgets_a_key(http: httpx.AsyncClient, login: str) -> None:
    await http.post(f"{login}/check", json={"key": "a", "cost": 5})
    assert (await http.post(f"{login}/reset", json={"key": "a"})).status_code == 204
    assert (await http.post(f"{login}/check", json={"key": "a", "cost": 5})).status_code == 200
    assert (await http.post(f"{login}/reset", json={"cost": 5})).status_code == 422
    assert (await http.post(f"{LIMITERS}/none/reset", json={"key": "a"})).status_code == 404


async def test_the_gate_answers_proxies(http: httpx.AsyncClient, login: str) -> None:
    for _ in range(5):
        passed = await http.get(f"{login}/gate", params={"key": "a/b ü"})
        assert (passed.status_code, passed.content) == (204, b"")
    assert passed.headers["ratelimit"] == '"login";r=0;t=60'
    refused = await http.get(f"{login}/gate", params={"key": "a/b ü"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert (await http.post(f"{login}/check", json={"key": "a/b ü"})).status_code == 429
    assert (await http.get(f"{login}/gate")).status_code == 204
    assert (await http.post(f"{login}/check", json={"key": "127.0.0.1", "cost": 5})).status_code == 429
    for query in ("key=a&cost=x", "key=a&cost=-1", "key=" + "x" * 513):
        assert (await http.get(f"{login}/gate?{query}")).status_code == 400


async def test_the_tutorials_limited_page(http: httpx.AsyncClient, local: LocalObjects) -> None:
    local.clock.advance(59.999 - local.clock.now() / 1000 % 60)
    answers = [await http.get("/demo/limited") for _ in range(100)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "OK")}
    local.clock.advance(0.002)  # over the boundary of a calendar minute
    refused = await http.get("/demo/limited")
    assert (refused.status_code, refused.text) == (429, "Rate limit exceeded")
    assert refused.headers["retry-after"] == "60"
    async with asgi_client(http_urlpatterns, "10.0.0.9") as other:
        assert (await other.get("/demo/limited")).status_code == 200
    local.clock.advance(59.998)
    assert (await http.get("/demo/limited")).status_code == 200


async def test_forwarded_addresses_are_not_believed_by_default(
    http: httpx.AsyncClient, settings: Any
) -> None:
    async def left(forwarded: str) -> str:
        answer = await http.get("/demo/limited", headers={"x-forwarded-for": forwarded})
        return answer.headers["ratelimit"].split(";")[1]

    assert [await left("1.1.1.1"), await left("2.2.2.2")] == ["r=99", "r=98"]
    settings.DURABLE = {**settings.DURABLE, "trusted_proxy_count": 1}
    assert [await left("6.6.6.6, 1.1.1.1"), await left("2.2.2.2")] == ["r=99", "r=99"]
    assert [await left("2001:db8::1"), await left("2001:db8::2")] == ["r=99", "r=98"]


async def test_a_row_takes_the_place_of_the_built_in_policy(
    http: httpx.AsyncClient, token: dict[str, str]
) -> None:
    built_in = (await http.get(f"{LIMITERS}/demo", headers=token)).json()
    assert built_in.items() >= {"limit": 100, "window_seconds": 60, "built_in": True}.items()
    assert (await http.delete(f"{LIMITERS}/demo", headers=token)).json()["code"] == "built_in"
    await http.put(f"{LIMITERS}/demo", json={"limit": 1, "window_seconds": 60}, headers=token)
    assert [(await http.get("/demo/limited")).status_code for _ in range(2)] == [200, 429]
    assert (await http.delete(f"{LIMITERS}/demo", headers=token)).status_code == 204
