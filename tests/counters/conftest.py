"""A client for the counters' endpoints, with objects in this process."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from counters.routing import http_urlpatterns
from durable.testing import LocalObjects
from tests.asgi_client import asgi_client


@pytest.fixture
async def http(local: LocalObjects, settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings.DURABLE = {**settings.DURABLE, "api_auth": "open"}
    async with asgi_client(http_urlpatterns) as client:
        yield client
