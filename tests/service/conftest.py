"""A data directory, and services of real processes that are all gone when the test ends."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from durable.cluster.processes import ProcessIdentity, is_alive, send_signal
from durable.service.discovery import ServiceRecord, find_service, read_last_record
from tests.service.served import Served

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")

Eventually = Callable[..., Any]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition gives something true, and return that; fail after `within` seconds."""

    def wait(condition: Callable[[], Any], within: float = 10.0) -> Any:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.01)
        raise AssertionError(f"not within {within} s: {condition}")

    return wait


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory."""
    with tempfile.TemporaryDirectory(prefix="durable-test-", ignore_cleanup_errors=True) as path:
        yield Path(path)


class Service:
    """One service under test: a process that runs a supervisor."""

    def __init__(self, command: list[str], data_dir: Path, environment: dict[str, str]) -> None:
        self.data_dir = data_dir
        self.seen: set[ProcessIdentity] = set()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(data_dir), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> ServiceRecord:
        """Wait for the line that says so."""
        assert self.process.stdout is not None
        said = ""
        while "ready on http://" not in said:
            line = self.process.stdout.readline()
            assert line, f"{said}\n{self.process.communicate(timeout=10)}"
            said += line
        return self.record()

    def record(self) -> ServiceRecord:
        """What the service says about itself."""
        record = find_service(self.data_dir)
        assert record is not None
        self.seen |= {child.identity for child in record.children}
        return record

    def child(self, name: str) -> ProcessIdentity | None:
        """The process of a child at the moment; None while it has none."""
        for child in self.record().children:
            if child.name == name:
                return child.identity if is_alive(child.identity) else None
        return None

    def redis(self) -> Any:
        """A client of its Redis."""
        return redis.Redis.from_url(self.record().redis_url, decode_responses=True)

    def stop(self, within: float = 20.0) -> tuple[int, str]:
        """Ask it to stop; exit status and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=within)
        return self.process.returncode, errors

    def end(self) -> None:
        """End everything that was ever seen of it."""
        last = read_last_record(self.data_dir)
        self.seen |= {child.identity for child in last.children} if last is not None else set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        for identity in self.seen:
            send_signal(identity, signal.SIGKILL)


@pytest.fixture
def start_service(data_dir: Path) -> Iterator[Callable[..., Service]]:
    """Start a service of stand-in children: `start_service(gateways=1, workers=1, **environment)`."""
    started: list[Service] = []

    def start(gateways: int = 1, workers: int = 1, **environment: str) -> Service:
        command = [sys.executable, str(STAND_IN), "service", str(data_dir), str(gateways), str(workers)]
        started.append(Service(command, data_dir, environment))
        return started[-1]

    yield start
    for service in started:
        service.end()


@pytest.fixture
def served() -> Iterator[Served]:
    application, started = Served(), Future[None]()
    with ThreadPoolExecutor(1) as thread, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        serving = thread.submit(runner.run, application.serve(started))
        started.result(10)
        yield application
        application.call(application.go_on.set)
        application.call(application.ended.set)
        serving.result(10)
