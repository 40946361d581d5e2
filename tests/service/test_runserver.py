"""`manage.py runserver`: both roles in one process, with Redis, and nothing left behind."""

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable.cluster.processes import identify, is_alive
from durable.service.discovery import find_service

from .conftest import Service

pytestmark = pytest.mark.cluster

Eventually = Callable[..., Any]


def children_of(pid: int) -> list[int]:
    """The process ids of the direct children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("option", [(), ("--noreload",)], ids=["autoreload", "noreload"])
def test_objects_work_and_kill_9_leaves_nothing_running(
    option: tuple[str, ...], data_dir: Path, eventually: Eventually
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "manage.py", "runserver", f"127.0.0.1:{port}", *option]
    environment = {"API_AUTH": "open", "DEBUG": "1", "REDIS_URL": "", "DATABASE_URL": ""}
    service = Service(command, data_dir, environment)
    try:
        eventually(lambda: find_service(data_dir), within=20)
        service.record()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport()) as client:

            def increment() -> Any:
                try:
                    return client.post("/api/v1/counters/pv/increment", json={}).json()["value"]
                except httpx.ConnectError:
                    return None

            assert eventually(increment, within=30) == 1
            assert increment() == 2
        second = Service(command, data_dir, environment)
        _, errors = second.process.communicate(timeout=20)
        assert second.process.returncode == 1
        assert f"(pid {service.process.pid})" in errors
        family = [identify(child) for child in children_of(service.process.pid)]
        service.process.send_signal(signal.SIGKILL)
        eventually(lambda: not any(one is not None and is_alive(one) for one in family), within=5)
    finally:
        service.end()
