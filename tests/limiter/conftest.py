"""A client for the limiter's endpoints, with objects in this process."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from channels.db import database_sync_to_async

from durable.gateway.auth import forget_tokens
from durable.models import ApiToken
from durable.testing import LocalObjects
from limiter.policies import forget_policies
from limiter.routing import http_urlpatterns
from tests.asgi_client import asgi_client


@pytest.fixture
def _fresh_caches() -> Iterator[None]:
    forget_policies()
    forget_tokens()
    yield
    forget_policies()
    forget_tokens()


@pytest.fixture
async def http(
    local: LocalObjects, settings: Any, transactional_db: None, _fresh_caches: None
) -> AsyncIterator[httpx.AsyncClient]:
    settings.DURABLE = {**settings.DURABLE, "api_auth": "open"}
    async with asgi_client(http_urlpatterns) as client:
        yield client


@pytest.fixture
async def token(transactional_db: None) -> dict[str, str]:
    """Headers that may manage policies."""
    _, text = await database_sync_to_async(ApiToken.issue)("test", ["limiter"])
    return {"authorization": f"Bearer {text}"}
