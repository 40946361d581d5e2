"""A client for the counters' endpoints, with objects in this process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from counters.routing import http_urlpatterns
from tests.asgi_client import asgi_client
from tests.local_objects import LocalObjects, local_objects


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    async with local_objects(tmp_path) as objects:
        yield objects


@pytest.fixture
async def http(local: LocalObjects, settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings.DURABLE = {**settings.DURABLE, "api_auth": "open"}
    async with asgi_client(http_urlpatterns) as client:
        yield client
