"""Objects and workers moved by an operator, in a running service."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from durable.identity import id_from_name
from durable.inspector import Inspector
from durable.inspector.moves import WorkerNotFoundError
from durable.testing import LocalObjects
from tests.durable.lab import lab
from tests.inspector.test_service import increment, objects, show
from tests.running_service import RunningService, eventually

ID = id_from_name("Lab", "lab")


@pytest.mark.django_db(transaction=True)
async def test_a_worker_that_nobody_could_mean(local: LocalObjects, operator: Inspector) -> None:
    await lab().increment()
    with pytest.raises(WorkerNotFoundError, match="no workers match 'nope'; there are: "):
        await operator.transfer(ID, "nope")
    await local.add_worker()
    with pytest.raises(WorkerNotFoundError, match="2 workers match"):
        await operator.drain(str(os.getpid()))


def workers(service: RunningService) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(objects(service, "workers", "--json")[1])
    return found


def counting(staff: httpx.Client, name: str, during: Callable[[], None]) -> int:
    """Increment a counter again and again while something is done; how often."""
    going, count = True, 0

    def work() -> None:
        nonlocal count
        while going or not count:
            increment(staff, name)
            count += 1

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            during()
        finally:
            going = False
        working.result()
    return count


@pytest.mark.cluster
def test_C6_an_object_is_transferred_while_it_works(service: RunningService, staff: httpx.Client) -> None:
    increment(staff, "mover")
    before = show(staff, "mover")
    other = next(one["worker"] for one in workers(service) if one["worker"] != before["owner"]["worker"])

    def transfer() -> None:
        assert objects(service, "transfer", "Counter", "mover", other[:8])[:2] == (0, "Transferred.")

    count = counting(staff, "mover", transfer)
    after = show(staff, "mover")
    assert after["owner"]["worker"] == other
    assert after["epoch"] > before["epoch"]
    assert staff.get("/counters/mover").json()["value"] == count + 1
    assert objects(service, "transfer", "Counter", "mover", other)[:2] == (0, "It is there already.")


@pytest.mark.cluster
def test_a_sleeping_object_wakes_where_it_was_transferred(
    service: RunningService, staff: httpx.Client
) -> None:
    increment(staff, "sleeping mover")
    owner = show(staff, "sleeping mover")["owner"]["worker"]
    other = next(one["worker"] for one in workers(service) if one["worker"] != owner)
    objects(service, "evict", "Counter", "sleeping mover")
    assert objects(service, "transfer", "Counter", "sleeping mover", other)[0] == 0
    assert show(staff, "sleeping mover")["state"] == "asleep"
    increment(staff, "sleeping mover")
    assert show(staff, "sleeping mover")["owner"]["worker"] == other
    status, _, errors = objects(service, "transfer", "Counter", "sleeping mover", "zzz")
    assert status == 1
    assert "no workers match" in errors


@pytest.mark.cluster
def test_O6_a_worker_is_drained_and_replaced(service: RunningService, staff: httpx.Client) -> None:
    increment(staff, "drained")
    owner = show(staff, "drained")["owner"]

    def drain() -> None:
        assert objects(service, "drain", str(owner["pid"]))[:2] == (0, "Drained.")

    count = counting(staff, "drained", drain)
    assert staff.get("/counters/drained").json()["value"] == count + 1
    assert show(staff, "drained")["owner"]["worker"] != owner["worker"]
    eventually(lambda: len(workers(service)) == 2, 30)
    assert owner["worker"] not in {one["worker"] for one in workers(service)}
    assert len({one["code"] for one in workers(service)}) == 1  # also of the one that had waited in reserve
