"""An operator: in the test's process beside local objects, or of a whole running service."""

import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable.cluster.directory import Directory
from durable.cluster.router import Router
from durable.identity import ObjectId
from durable.inspector import Inspector
from durable.testing import LocalObjects
from tests.running_service import RunningService, running_service

API = "/api/v1"
Staff = Callable[..., httpx.Client]


class _Redis:
    """What an operator asks Redis, answered by the test's cluster."""

    def __init__(self, local: LocalObjects) -> None:
        self._cluster = local.cluster
        self.list_workers = local.cluster.list_workers
        self.index_alarms = local.cluster.index_alarms

    async def owner(self, object_id: ObjectId) -> tuple[str, int] | None:
        return self._cluster.owners.get(str(object_id))


class _Client:
    """The way to the test's cluster."""

    def __init__(self, local: LocalObjects) -> None:
        self.redis: Any = _Redis(local)
        self.directory = Directory(self.redis)
        self.router = Router(
            uuid.uuid4().hex,
            "client",
            self.directory,
            park_seconds=local.conf.park_seconds,
            max_parked=local.conf.max_parked,
        )


@pytest.fixture
async def operator(local: LocalObjects) -> AsyncIterator[Inspector]:
    """An operator who asks about local objects."""
    client: Any = _Client(local)
    await client.directory.refresh()
    # Local objects have their files where a volume has its folder of objects.
    assert local.conf.data_dir.name == "objects"
    yield Inspector(client, dataclasses.replace(local.conf, data_dir=local.conf.data_dir.parent), "user:op")
    client.router.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """One service for the tests of a module."""
    data_dir: Path = tmp_path_factory.mktemp("service")
    with running_service(data_dir, gateways=1, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def staff(service: RunningService) -> Iterator[httpx.Client]:
    """A client whose token has the scope `objects`."""
    made = json.loads(service.manage("api_token", "create", "staff", "--scopes=objects", "--json"))
    headers = {"Authorization": f"Bearer {made['token']}"}
    with httpx.Client(base_url=f"{service.base_url}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def make_staff(service: RunningService) -> Iterator[Staff]:
    """Sign a staff user in: `make_staff("alice", "view_objectrecord")`; "*" makes a superuser."""
    clients: list[httpx.Client] = []

    def make(username: str, *permissions: str) -> httpx.Client:
        program = (
            "from django.contrib.auth.models import Permission, User\n"
            f"user, _ = User.objects.get_or_create(username={username!r}, is_staff=True)\n"
            f"user.is_superuser = {'*' in permissions}\n"
            "user.set_password('pw')\n"
            "user.save()\n"
            f"user.user_permissions.set(Permission.objects.filter(codename__in={list(permissions)!r}))\n"
        )
        service.manage("shell", "--no-imports", "-v0", "-c", program)
        client = httpx.Client(base_url=service.base_url, timeout=30)
        clients.append(client)
        client.get("/admin/login/").raise_for_status()
        form = {
            "username": username,
            "password": "pw",
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
            "next": "/admin/password_change/",
        }
        assert client.post("/admin/login/", data=form).status_code == 302
        return client

    yield make
    for client in clients:
        client.close()
