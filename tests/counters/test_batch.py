"""Many operations in one request."""

from typing import Any

import httpx
import pytest

from counters.objects import Counter

BATCH = "/api/v1/counters:batch"


async def batch(http: httpx.AsyncClient, *operations: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await http.post(BATCH, json={"operations": operations})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def test_each_operation_has_its_own_status(http: httpx.AsyncClient) -> None:
    results = await batch(
        http,
        {"name": "a", "by": 5},
        {"name": "b", "op": "set", "value": 7},
        {"name": "a", "by": 10, "max": 9},
        {"name": "a", "op": "get"},
        {"name": "b", "op": "delete"},
        {"name": "b", "op": "get"},
    )
    assert [result["status"] for result in results] == [200, 200, 409, 200, 204, 200]
    assert [result.get("value") for result in results] == [5, 7, 5, 5, None, 0]
    assert results[2]["code"] == "out_of_range"
    assert [result["name"] for result in results] == ["a", "b", "a", "a", "b", "b"]


async def test_operations_on_one_counter_run_in_order(http: httpx.AsyncClient) -> None:
    results = await batch(http, *({"name": "a"} for _ in range(100)))
    assert [result["value"] for result in results] == list(range(1, 101))


async def test_idempotency_keys_are_those_of_single_requests(http: httpx.AsyncClient) -> None:
    await http.post("/api/v1/counters/a/increment", headers={"idempotency-key": "k"})
    (result,) = await batch(http, {"name": "a", "idempotency_key": "k"})
    assert result.items() >= {"value": 1, "replayed": True}.items()
    assert await Counter.namespace.get_by_name("a").value() == 1


@pytest.mark.parametrize(
    ("operations", "pointer"),
    [
        ([], "/operations"),
        ([{"name": "a"}] * 101, "/operations"),
        ([{"name": "a"}, {"name": ""}], "/operations/1/name"),
        ([{"name": "a"}, {"name": "\0"}], "/operations/1/name"),
        ([{"name": "a", "op": "double"}], "/operations/0/op"),
        ([{"name": "a", "op": "set"}], "/operations/0/value"),
        ([{"name": "a"}, {"name": "a", "value": 7}], "/operations/1/value"),
        ([{"name": "a", "op": "get", "value": 7}], "/operations/0/value"),
        ([{"name": "a", "op": "set", "value": 7, "by": 2}], "/operations/0/by"),
        ([{"name": "a", "op": "set", "value": 7, "max": 9}], "/operations/0/max"),
        ([{"name": "a", "op": "delete", "idempotency_key": "k"}], "/operations/0/idempotency_key"),
        ([{"name": "a", "min": 2, "max": 1}], "/operations/0/min"),
        ([{"name": "a", "by": 2**63}], "/operations/0/by"),
    ],
)
async def test_a_bad_operation_refuses_the_whole_request(
    http: httpx.AsyncClient, operations: list[dict[str, Any]], pointer: str
) -> None:
    answer = await http.post(BATCH, json={"operations": operations})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert await Counter.namespace.get_by_name("a").value() == 0


async def test_a_member_that_an_operation_has_twice_refuses_the_whole_request(
    http: httpx.AsyncClient,
) -> None:
    body = b'{"operations":[{"name":"a"},{"name":"a","by":1,"b\\u0079":100}]}'
    answer = await http.post(BATCH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/operations/1/by"
    assert await Counter.namespace.get_by_name("a").value() == 0
