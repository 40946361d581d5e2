"""`manage.py serve`, `gateway` and `worker` as an operator meets them: the real commands as processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable.service.rundir import runtime_directory
from durable.service.valkey import Valkey

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]


def manage(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a management command, with nothing of this process's own REDIS_URL."""
    base = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**base, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what it said on stderr."""
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return process.returncode, errors


@pytest.fixture
def redis_url(data_dir: Path) -> Iterator[str]:
    """The address of a real server with nothing in it."""
    server = Valkey(data_dir / "server", runtime_directory(data_dir / "server"))
    server.start()
    yield server.url
    server.close()


@pytest.mark.parametrize("role", ["worker", "gateway"])
def test_one_role_without_any_redis_is_one_clear_line(role: str, data_dir: Path) -> None:
    status, errors = finish(manage(role, DATA_DIR=str(data_dir)))
    assert status != 0
    assert errors.startswith(f"CommandError: REDIS_URL is not set and no service runs on {data_dir}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--port", "99999", "is not a port"),
        ("--port", "http", "is not a port"),
        ("--workers", "0", "is not a number from 1"),
        ("--gateways", "-1", "is not a number from 1"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: str, complaint: str, data_dir: Path) -> None:
    status, errors = finish(manage("serve", f"{option}={value}", DATA_DIR=str(data_dir)))
    assert status == 2
    assert f"argument {option}: {value!r} {complaint}" in errors


def test_O8_a_worker_refuses_a_data_directory_that_its_redis_does_not_know(
    data_dir: Path, redis_url: str, eventually: Callable[..., Any]
) -> None:
    first = manage("worker", DATA_DIR=str(data_dir / "one"), REDIS_URL=redis_url)
    try:
        sockets = runtime_directory(data_dir / "one")
        eventually(lambda: list(sockets.glob("w*.sock")), within=30)
        status, errors = finish(manage("worker", DATA_DIR=str(data_dir / "two"), REDIS_URL=redis_url))
        assert status == 78
        assert "belongs to another data directory" in errors
        assert errors.count("\n") == 1
    finally:
        first.send_signal(signal.SIGTERM)
        status, errors = finish(first)
    assert status == 0, errors
