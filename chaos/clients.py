"""An HTTP client that knows what an answer means for the operation: done, refused without effect, or unknown."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from .service import Service, ServiceFailedError

Effect = Literal["done", "none", "unknown"]
TIMEOUT_SECONDS = (
    45.0  # above what a call may wait at a gateway: the service is to answer, not the client to give up
)
_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` is 0 without an answer; `problem` names a visible failure, "" when there is none."""

    effect: Effect
    status: int = 0
    body: Any = None
    problem: str = ""


class Client:
    """One client with a connection of its own."""

    def __init__(self, service: Service) -> None:
        self._http = httpx.AsyncClient(
            base_url=service.base_url,
            timeout=TIMEOUT_SECONDS,
            headers={"Authorization": f"Bearer {service.token}"},
            trust_env=False,
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        expected: frozenset[int] = frozenset(),
        **headers: str,
    ) -> Answer:
        """Send one request. Statuses in `expected` are no failures. Header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            response = await self._http.request(method, f"/api/v1/{path}", json=body, headers=named)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return Answer("none", problem="no connection")
        except httpx.TimeoutException:
            return Answer("unknown", problem="no answer in time")
        except httpx.TransportError:
            return Answer("unknown", problem="connection lost")
        return _judge(response, expected)

    async def surely(self, method: str, path: str, body: Any = None, within: float = 30.0) -> Any:
        """The body of the answer to a request that may be repeated. Raises ServiceFailedError when none comes."""
        deadline = time.monotonic() + within
        while (answer := await self.ask(method, path, body)).effect != "done":
            if time.monotonic() > deadline:
                raise ServiceFailedError(
                    f"{method} {path} has no answer within {within:g} s: {answer.problem}"
                )
            await asyncio.sleep(_AGAIN_SECONDS)
        return answer.body

    async def close(self) -> None:
        """Give the connection back."""
        await self._http.aclose()


def _judge(response: httpx.Response, expected: frozenset[int]) -> Answer:
    try:
        body = response.json() if response.content else None
    except ValueError:
        return Answer("unknown", response.status_code, problem=f"{response.status_code} without JSON")
    status = response.status_code
    if status < 400 or status in expected:
        return Answer("done", status, body)
    known = body if isinstance(body, dict) else {}
    effect: Effect = "none" if status < 500 or known.get("delivered") == "no" else "unknown"
    return Answer(effect, status, body, f"{status} {known.get('code', '')}".strip())
