"""The counters' REST endpoints, as the contract has them."""

import asyncio
from typing import Any

import httpx
import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from counters.objects import HIGHEST, Counter
from durable.models import ObjectRecord
from tests.asgi_client import raw

COUNTERS = "/api/v1/counters"


async def test_an_untouched_counter_is_zero(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{COUNTERS}/views")
    assert answer.status_code == 200
    assert answer.json() == {"name": "views", "value": 0, "version": 0, "updated_at": None}
    assert answer.headers["etag"] == '"v0"'


async def test_increments(http: httpx.AsyncClient) -> None:
    first = await http.post(f"{COUNTERS}/views/increment")
    assert first.status_code == 200
    assert (first.json()["value"], first.json()["version"]) == (1, 1)
    assert first.headers["etag"] == '"v1"'
    assert first.headers["cache-control"] == "no-store"
    assert (await http.post(f"{COUNTERS}/views/increment", json={"by": 5})).json()["value"] == 6
    assert (await http.post(f"{COUNTERS}/views/increment", json={})).json()["value"] == 7
    assert (await http.post(f"{COUNTERS}/views/increment", json={"by": -9})).json()["value"] == -2
    read = (await http.get(f"{COUNTERS}/views")).json()
    assert read["value"] == -2
    assert read["updated_at"].endswith("Z")


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("a%2Fb", "a/b"),
        ("%2e%2e", ".."),
        ("caf%C3%A9", "café"),
        ("x" * 200, "x" * 200),
        ("a%2Fincrement", "a/increment"),
    ],
)
async def test_names_may_hold_anything(http: httpx.AsyncClient, segment: str, name: str) -> None:
    answer = await http.post(raw(f"{COUNTERS}/{segment}/increment"))
    assert answer.json()["name"] == name
    assert (await http.get(raw(f"{COUNTERS}/{segment}"))).json() == answer.json()
    assert await Counter.namespace.get_by_name(name).value() == 1


@pytest.mark.parametrize("segment", ["", "x" * 201, "%ff", "%00", "a%00b", "%ED%A0%80"])
async def test_names_that_are_none_are_400(http: httpx.AsyncClient, segment: str) -> None:
    for method, path in (("GET", segment), ("POST", f"{segment}/increment"), ("DELETE", segment)):
        answer = await http.request(method, raw(f"{COUNTERS}/{path}"))
        assert answer.status_code == 400, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"by": "1"}, 422, "/by"),
        ({"by": 1.5}, 422, "/by"),
        ({"by": None}, 422, "/by"),
        ({"by": 2**63}, 422, "/by"),
        ({"amount": 1}, 422, "/amount"),
        ({"by": 1, "min": 3, "max": 2}, 422, "/min"),
        ({"by": 1, "max": 2**70}, 422, "/max"),
        ([1], 422, ""),
    ],
)
async def test_bad_increments_are_refused(
    http: httpx.AsyncClient, body: Any, status: int, pointer: str
) -> None:
    answer = await http.post(f"{COUNTERS}/views/increment", json=body)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert (await http.get(f"{COUNTERS}/views")).json()["version"] == 0


async def test_bounds_and_overflow_are_409_and_change_nothing(http: httpx.AsyncClient) -> None:
    url = f"{COUNTERS}/stock/increment"
    await http.post(url, json={"by": 10})
    refused = await http.post(url, json={"by": -11, "min": 0})
    assert refused.status_code == 409
    assert refused.json()["code"] == "out_of_range"
    assert refused.json()["value"] == 10
    overflow = await http.post(url, json={"by": HIGHEST})
    assert (overflow.status_code, overflow.json()["code"]) == (409, "overflow")
    assert (await http.get(f"{COUNTERS}/stock")).json()["version"] == 1


async def test_an_idempotency_key_counts_once(http: httpx.AsyncClient) -> None:
    url, key = f"{COUNTERS}/views/increment", {"idempotency-key": '"8e03"'}
    first = await http.post(url, json={"by": 2}, headers=key)
    await http.post(url)
    again = await http.post(url, json={"by": 2}, headers={"idempotency-key": "8e03"})
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert again.headers["etag"] == first.headers["etag"]
    other = await http.post(url, json={"by": 3}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await http.get(f"{COUNTERS}/views")).json()["value"] == 3
    assert (await http.post(f"{COUNTERS}/other/increment", headers=key)).json()["value"] == 1


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é", "a\tb"])
async def test_bad_idempotency_keys_are_400(http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post(f"{COUNTERS}/views/increment", headers={"idempotency-key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_idempotency_key")


async def test_concurrent_requests_of_one_key_count_once(http: httpx.AsyncClient) -> None:
    url = f"{COUNTERS}/views/increment"
    answers = await asyncio.gather(*(http.post(url, headers={"idempotency-key": "k"}) for _ in range(20)))
    assert {answer.json()["value"] for answer in answers} == {1}
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 19


async def test_G1_concurrent_increments_all_count(http: httpx.AsyncClient) -> None:
    url = f"{COUNTERS}/views/increment"
    answers = await asyncio.gather(*(http.post(url) for _ in range(100)))
    assert sorted(answer.json()["value"] for answer in answers) == list(range(1, 101))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"v1"', 304),
        ('W/"v1"', 304),
        ('"x", "v1"', 304),
        ("*", 304),
        ('"v2"', 200),
        ("v1", 200),
        ('"v11"', 200),
    ],
)
async def test_if_none_match(http: httpx.AsyncClient, header: str, status: int) -> None:
    await http.post(f"{COUNTERS}/views/increment")
    answer = await http.get(f"{COUNTERS}/views", headers={"if-none-match": header})
    assert answer.status_code == status
    assert answer.headers["etag"] == '"v1"'
    assert bool(answer.content) == (status == 200)


async def test_a_star_does_not_match_a_counter_that_is_not_there(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{COUNTERS}/views", headers={"if-none-match": "*"})
    assert answer.status_code == 200


async def test_put_with_preconditions(http: httpx.AsyncClient) -> None:
    url = f"{COUNTERS}/views"

    async def put(value: int, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        return await http.put(url, json={"value": value}, headers=names)

    assert (await put(1, if_match="*")).status_code == 412
    created = await put(5, if_none_match="*")
    assert (created.status_code, created.json()["value"], created.headers["etag"]) == (200, 5, '"v1"')
    refused = await put(6, if_none_match="*")
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    assert (await put(6, if_match='"v9"')).status_code == 412
    assert (await put(6, if_match='W/"v1"')).status_code == 412
    assert (await put(6, if_match='"v9", "v1"')).json()["version"] == 2
    assert (await put(7)).json()["version"] == 3
    assert (await put(8, if_none_match='"v3"')).status_code == 400
    assert (await http.put(url, json={"value": 2**63})).status_code == 422
    assert (await http.put(url)).status_code in (400, 415)


async def test_delete(http: httpx.AsyncClient) -> None:
    await http.post(f"{COUNTERS}/views/increment")
    assert (await http.delete(f"{COUNTERS}/views", headers={"if-match": '"v2"'})).status_code == 412
    gone = await http.delete(f"{COUNTERS}/views")
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await http.get(f"{COUNTERS}/views")).json()["value"] == 0
    assert (await http.delete(f"{COUNTERS}/views")).status_code == 204


async def test_a_token_is_needed_unless_open(http: httpx.AsyncClient, settings: Any) -> None:
    settings.DURABLE = {**settings.DURABLE, "api_auth": "token"}
    for method, path in (("GET", "/a"), ("POST", "/a/increment"), ("DELETE", "/a"), ("GET", "")):
        assert (await http.request(method, COUNTERS + path)).status_code == 401
    assert (await http.get("/demo/increment")).status_code == 200


async def test_the_tutorials_counter(http: httpx.AsyncClient) -> None:
    assert (await http.get("/demo/")).text == "Current count: 0"
    assert (await http.post("/demo/increment")).text == "Count: 1"
    assert (await http.get("/demo/increment")).text == "Count: 2"
    answer = await http.get("/demo/")
    assert answer.text == "Current count: 2"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def record(*names: str) -> None:
    """Put counters into the catalog, as workers do in time."""

    def write() -> None:
        now = timezone.now()
        for name in names:
            object_id = Counter.namespace.id_from_name(name)
            ObjectRecord.objects.create(
                class_key="Counter", object_id=str(object_id), name=name, created_at=now, last_active_at=now
            )

    await database_sync_to_async(write)()


@pytest.mark.django_db(transaction=True)
async def test_listing_by_prefix_and_page(http: httpx.AsyncClient) -> None:
    names = ["a/1", "a/2", "a/3", "A/4", "b"]
    for name in names:
        await Counter.namespace.get_by_name(name).increment(len(name))
    await record(*names, "a/deleted")
    first = (await http.get(COUNTERS, params={"prefix": "a/", "limit": 2})).json()
    assert [item["name"] for item in first["items"]] == ["a/1", "a/2"]
    assert first["items"][0].items() >= {"value": 3, "version": 1}.items()
    rest = (await http.get(COUNTERS, params={"prefix": "a/", "limit": 2, "cursor": first["next"]})).json()
    assert ([item["name"] for item in rest["items"]], rest["next"]) == (["a/3"], None)
    everything = (await http.get(COUNTERS)).json()
    assert [item["name"] for item in everything["items"]] == sorted(names)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "cursor=nonsense", "cursor=%ff", "cursor=YQ"]
)
async def test_bad_pages_are_400(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(raw(f"{COUNTERS}?{query}"))
    assert answer.status_code == 400


async def test_other_methods_are_405(http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{COUNTERS}/views/increment")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
