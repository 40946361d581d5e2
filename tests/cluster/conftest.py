"""A running service, a client of its objects in this process, and a Valkey alone."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from durable.client import ClusterClient
from durable.conf import durable_settings
from durable.runtime.namespace import task_dispatcher
from durable.service.rundir import runtime_directory
from durable.service.valkey import Valkey
from tests.running_service import RunningService, running_service

Client = Callable[[RunningService], AsyncIterator[ClusterClient]]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """Two gateways and two workers, with short leases."""
    with running_service(tmp_path, DJANGO_SETTINGS_MODULE="tests.cluster.settings") as running:
        yield running


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey, without a service."""
    server = Valkey(tmp_path, runtime_directory(tmp_path))
    server.start()
    yield server
    server.close()


@asynccontextmanager
async def objects_of(service: RunningService) -> AsyncIterator[ClusterClient]:
    """Within this block, stubs made here call the service's objects."""
    client = ClusterClient(replace(durable_settings(), redis_url=service.record().redis_url), "client")
    await client.start()
    token = task_dispatcher.set(client)
    try:
        yield client
    finally:
        task_dispatcher.reset(token)
        await client.close()
