"""`manage.py serve` as a whole: gateways, workers and Redis over real objects."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable.cluster.processes import is_alive, send_signal

from .conftest import ROOT, Service

pytestmark = pytest.mark.cluster

Eventually = Callable[..., Any]


@pytest.fixture
def serve(data_dir: Path) -> Iterator[Callable[[], Service]]:
    """Start the real service on the test's data directory."""
    started: list[Service] = []

    def start() -> Service:
        command = [sys.executable, "manage.py", "serve", "--port=0", "--gateways=1", "--workers=2"]
        started.append(Service(command, data_dir, {"API_AUTH": "open", "REDIS_URL": "", "DATABASE_URL": ""}))
        return started[-1]

    yield start
    for service in started:
        service.end()


def increment(client: httpx.Client, name: str) -> int:
    """Count one, through whatever happens meanwhile."""
    answer = client.post(f"/api/v1/counters/{name}/increment", json={})
    answer.raise_for_status()
    return int(answer.json()["value"])


def serving_workers(service: Service) -> int:
    """How many workers have a live session."""
    with service.redis() as client:
        return len(list(client.scan_iter("durable:worker:*")))


def owner_of(service: Service) -> str:
    """The worker child that holds an object's file."""
    files = {path.stat().st_ino for path in service.data_dir.glob("objects/*/??/*.sqlite3")}
    for child in service.record().children:
        if child.name.startswith("worker"):
            held = {path.stat().st_ino for path in Path(f"/proc/{child.pid}/fd").iterdir()}
            if not held.isdisjoint(files):
                return child.name
    raise AssertionError("no worker holds an object")


def test_O5_the_death_of_any_process_loses_nothing_and_takes_less_than_a_second(
    serve: Callable[[], Service], eventually: Eventually
) -> None:
    service = serve()
    with httpx.Client(base_url=service.wait_ready().url, timeout=30) as client:
        assert increment(client, "held") == 1
        for expected, name in enumerate(("owner", "owner", "valkey"), start=2):
            eventually(lambda: serving_workers(service) == 2, within=30)
            victim = service.child(owner_of(service) if name == "owner" else name)
            assert victim is not None
            begun = time.monotonic()
            send_signal(victim, signal.SIGKILL)
            assert increment(client, "held") == expected
            assert time.monotonic() - begun < 1.0, name
    status, log = service.stop()
    assert status == 0, log


def test_acknowledged_counts_survive_kill_9_of_everything(serve: Callable[[], Service]) -> None:
    first = serve()
    with httpx.Client(base_url=first.wait_ready().url, timeout=30) as client:
        assert [increment(client, "kept") for _ in range(20)] == list(range(1, 21))
    for child in first.record().children:
        send_signal(child.identity, signal.SIGKILL)
    first.process.kill()
    first.process.wait()
    second = serve()
    with httpx.Client(base_url=second.wait_ready().url, timeout=30) as client:
        begun = time.monotonic()
        assert increment(client, "kept") == 21
        assert time.monotonic() - begun < 1.0


def test_kill_9_of_serve_leaves_nothing_running(serve: Callable[[], Service], eventually: Eventually) -> None:
    service = serve()
    service.wait_ready()
    processes = [child.identity for child in service.record().children]
    assert len(processes) == 4
    service.process.kill()
    eventually(lambda: not any(map(is_alive, processes)), within=5)


def test_a_worker_started_by_hand_finds_the_embedded_redis(
    serve: Callable[[], Service], eventually: Eventually
) -> None:
    service = serve()
    service.wait_ready()
    with subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(service.data_dir)},
        stderr=subprocess.PIPE,
    ) as extra:
        try:
            with service.redis() as client:
                eventually(lambda: client.scard("durable:workers") == 3, within=20)
        finally:
            extra.terminate()
            extra.communicate(timeout=20)
    assert extra.returncode == 0


def test_O6_a_worker_asked_to_end_gives_its_objects_away_and_is_replaced(
    serve: Callable[[], Service], eventually: Eventually
) -> None:
    service = serve()
    with httpx.Client(base_url=service.wait_ready().url, timeout=30) as client:
        assert increment(client, "moved") == 1
        name = owner_of(service)
        before = service.child(name)
        assert before is not None
        send_signal(before, signal.SIGTERM)
        expected = 1
        while is_alive(before):
            expected += 1
            assert increment(client, "moved") == expected
        assert increment(client, "moved") == expected + 1
    after = eventually(lambda: service.child(name), within=10)
    assert after != before
    status, log = service.stop()
    assert status == 0
    assert f"{name} ended (exit 0)" in log
