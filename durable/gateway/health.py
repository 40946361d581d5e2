"""What machines ask a gateway: is it alive, can it serve, and its numbers.

Probes reach a process by its address, under whatever Host they like, so that is not checked here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from durable.client import ClusterClient, home
from durable.errors import UnavailableError

from .auth import CHALLENGE, bearer
from .http import HttpConsumer, Request, Response, json_response, text_response
from .problems import Problem

logger = logging.getLogger("durable.gateway")

PROBE_SECONDS = 2.0
"""A dependency that takes longer to answer counts as failed."""

_ALLOW = (b"allow", b"GET, HEAD")

Readiness = Callable[[], Awaitable[dict[str, str]]]
"""Answers the state of each dependency: "ok", or what is wrong with it."""


class Probe(HttpConsumer):
    """A GET endpoint that any Host may ask."""

    async def _respond(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Problem(
                405, "method_not_allowed", f"{request.method} is not supported here.", headers=[_ALLOW]
            )
        return await self.answer(request)

    async def answer(self, request: Request) -> Response:
        """The response to a GET."""
        raise NotImplementedError


class Livez(Probe):
    """200 while this process answers at all."""

    async def answer(self, request: Request) -> Response:
        """Say so."""
        return text_response("ok\n")


async def cluster_state() -> dict[str, str]:
    """Redis answers and a worker serves, as this process's client sees it."""
    client = await asyncio.to_thread(home.client)
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_ask(client), client.loop))


async def _ask(client: ClusterClient) -> dict[str, str]:
    try:
        workers = await client.redis.list_workers()
    except UnavailableError:
        return {"redis": "unreachable", "workers": "unknown"}
    serving = any(worker.state == "serving" for worker in workers)
    return {"redis": "ok", "workers": "ok" if serving else "none is serving"}


class Readyz(Probe):
    """200 when requests can be served, 503 when not; the body names each dependency and its state."""

    def __init__(self, readiness: Readiness = cluster_state) -> None:
        super().__init__()
        self.readiness = readiness

    async def answer(self, request: Request) -> Response:
        """Ask every dependency, for at most `PROBE_SECONDS`."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                state = await self.readiness()
        except TimeoutError:
            state = {"cluster": f"no answer within {PROBE_SECONDS:g} s"}
        except Exception:  # whatever fails, the answer is "not ready"; the reason is not for everybody
            logger.exception("readiness could not be found out")
            state = {"cluster": "unavailable"}
        ready = all(value == "ok" for value in state.values())
        return json_response({"ready": ready, **state}, status=200 if ready else 503)


class Metrics(Probe):
    """Prometheus's text: to this machine itself, or to a token with the scope "objects"."""

    async def answer(self, request: Request) -> Response:
        """All processes' numbers where they share a directory, else this process's."""
        if not local(request):
            principal = await bearer(request.headers.get(b"authorization", b""))
            if principal is None or "objects" not in principal.scopes:
                raise Problem(
                    401,
                    "not_authenticated",
                    "Metrics need a token with the scope 'objects'.",
                    headers=[CHALLENGE],
                )
        text = await asyncio.to_thread(metrics_text)
        return Response(200, text, ((b"content-type", CONTENT_TYPE_LATEST.encode()),))


def local(request: Request) -> bool:
    """Whether the request was made on this machine and came through no proxy."""
    headers = request.headers
    if b"x-forwarded-for" in headers or b"forwarded" in headers:
        return False
    client = request.scope.get("client")
    if not client or not client[0]:  # a Unix socket
        return True
    try:
        return ip_address(client[0]).is_loopback
    except ValueError:
        return False


def metrics_text() -> bytes:
    """The exposition; with PROMETHEUS_MULTIPROC_DIR set, that of every process that writes there."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
