"""Probes and metrics: honest about readiness, and numbers only for those who may see them."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable.client import ClusterClient, Home
from durable.cluster.redis import WorkerSession
from durable.conf import DurableSettings, durable_settings
from durable.gateway import health
from durable.gateway.health import Livez, Metrics, Probe, Readyz
from durable.models import ApiToken
from durable.service.valkey import Valkey


async def get(app: Any, client: tuple[str, int] = ("127.0.0.1", 5), **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7") as browser:
        return await browser.get("/", headers=headers)


async def test_ready_when_every_dependency_is_ok() -> None:
    async def readiness() -> dict[str, str]:
        return {"redis": "ok", "workers": "ok"}

    answer = await get(Readyz.as_asgi(readiness=readiness))
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "redis": "ok", "workers": "ok"})


async def test_not_ready_names_what_is_missing() -> None:
    async def readiness() -> dict[str, str]:
        return {"redis": "ok", "workers": "none is alive"}

    answer = await get(Readyz.as_asgi(readiness=readiness))
    assert (answer.status_code, answer.json()["workers"]) == (503, "none is alive")


async def test_not_ready_when_asking_fails() -> None:
    async def readiness() -> dict[str, str]:
        raise ConnectionError("refused")

    answer = await get(Readyz.as_asgi(readiness=readiness))
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "cluster": "unavailable"})


async def test_not_ready_when_a_dependency_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBE_SECONDS", 0.01)

    async def readiness() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    answer = await get(Readyz.as_asgi(readiness=readiness))
    assert (answer.status_code, answer.json()["cluster"]) == (503, "no answer within 0.01 s")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", ""])
async def test_metrics_are_shown_to_this_machine(address: str) -> None:
    answer = await get(Metrics.as_asgi(), client=(address, 5))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "python_info" in answer.text


@pytest.mark.parametrize("headers", [{"x-forwarded-for": "1.2.3.4"}, {"forwarded": "for=1.2.3.4"}])
async def test_metrics_are_not_shown_through_a_proxy(headers: dict[str, str]) -> None:
    answer = await get(Metrics.as_asgi(), **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


@pytest.mark.parametrize("probe", [Livez, Readyz, Metrics])
async def test_another_method_is_405_and_hears_which_it_may_be(probe: type[Probe]) -> None:
    transport = httpx.ASGITransport(app=probe.as_asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7") as browser:
        answer = await browser.post("/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.django_db(transaction=True)
async def test_metrics_are_shown_elsewhere_for_a_token_with_the_scope() -> None:
    _, right = await asyncio.to_thread(ApiToken.issue, "prometheus", ["objects"])
    _, wrong = await asyncio.to_thread(ApiToken.issue, "other", ["rooms"])
    far = ("192.0.2.1", 5)
    assert (await get(Metrics.as_asgi(), client=far)).status_code == 401
    assert (await get(Metrics.as_asgi(), client=far, authorization=f"Bearer {wrong}")).status_code == 401
    assert (await get(Metrics.as_asgi(), client=far, authorization=f"Bearer {right}")).status_code == 200


async def test_the_cluster_is_ready_when_redis_answers_and_a_worker_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Valkey(tmp_path, tmp_path)) as valkey:
        valkey.start()
        client = ClusterClient(DurableSettings(data_dir=tmp_path, redis_url=valkey.url), "gateway")
        home = Home(durable_settings)
        home.attach(client)
        monkeypatch.setattr(health, "home", home)
        try:
            answer = await get(Readyz.as_asgi())
            assert answer.json() == {"ready": False, "redis": "ok", "workers": "none is serving"}
            for state in ("draining", "serving"):
                await client.redis.register_worker(
                    WorkerSession(state, 1, 1, "here", state, 0, "/nowhere"), ttl=60
                )
                answer = await get(Readyz.as_asgi())
                assert answer.json()["ready"] is (state == "serving")
            valkey.close()
            answer = await get(Readyz.as_asgi())
            assert (answer.status_code, answer.json()["redis"]) == (503, "unreachable")
        finally:
            await client.close()
