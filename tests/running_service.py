"""The service as `make run` runs it, on a data directory of its own, to be killed and restarted by tests."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import httpx

from durable.cluster.processes import ProcessIdentity, is_alive, send_signal
from durable.service.discovery import ServiceRecord, find_service, read_last_record

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "staticfiles" / "dist" / "room.js"
SETTINGS = ("API_AUTH", "DATABASE_URL", "DEBUG", "GATEWAYS", "REDIS_URL", "TRUSTED_PROXY_COUNT", "WORKERS")
Found = TypeVar("Found")


def eventually(condition: Callable[[], Found], within: float = 15.0) -> Found:
    """Wait until a condition gives something true, and return that; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {within} s: {condition}")


def free_port() -> int:
    """A port nobody listens on, below those the system hands out: a client that retries must not connect to itself."""
    for port in random.sample(range(9400, 29_999), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class RunningService:
    """`manage.py serve` with its gateways, workers and embedded Redis. A restart keeps the data and the address.

    Args:
        data_dir: a directory of its own.
        gateways: how many.
        workers: how many.
        descriptors: each process may have open, where fewer than the system allows.
        environment: variables to set.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        gateways: int = 2,
        workers: int = 2,
        descriptors: int | None = None,
        **environment: str,
    ) -> None:
        self.data_dir = data_dir
        self._limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        self.gateways = gateways
        self.workers = workers
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
        self.environment = {**kept, "DATA_DIR": str(data_dir), "API_AUTH": "open", **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._token: str | None = None
        self._seen: set[ProcessIdentity] = set()

    def start(self, within: float = 60.0) -> None:
        """Start it and wait until every process is ready."""
        assert self._process is None
        command = [*self._limited, sys.executable, "manage.py", "serve", f"--port={self.port}"]
        command += [f"--gateways={self.gateways}", f"--workers={self.workers}"]
        with self._log() as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        process = self._process

        def ready() -> bool:
            assert process.poll() is None, self.log()
            record = find_service(self.data_dir)
            return record is not None and record.ready

        eventually(ready, within)

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 30.0) -> int:
        """Ask it to stop and wait for the end; returns the exit status. SIGINT is what Ctrl-C sends."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(within)
        self._process = None
        return status

    def hang_up(self) -> None:
        """Send SIGHUP to the supervisor."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def restart(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it and start it again."""
        self.stop(number)
        self.start()

    def kill(self, pid: int) -> None:
        """kill -9 one of its processes."""
        victim = next(child.identity for child in self.record().children if child.pid == pid)
        send_signal(victim, signal.SIGKILL)

    def crash(self) -> None:
        """kill -9 everything at once, as a power cut would."""
        assert self._process is not None
        children = self.record().children
        self._process.kill()
        for child in children:
            send_signal(child.identity, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def worker_pids(self) -> list[int]:
        """The worker processes of the moment."""
        return self._pids("worker")

    def gateway_pids(self) -> list[int]:
        """The gateway processes of the moment."""
        return self._pids("gateway")

    def record(self) -> ServiceRecord:
        """What the service says about itself."""
        record = find_service(self.data_dir)
        assert record is not None, self.log()
        self._seen |= {child.identity for child in record.children}
        return record

    def manage(self, *arguments: str, **environment: str) -> str:
        """Run a management command beside it; returns what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def create_room(self, title: str) -> str:
        """Make a room; returns the address of its page."""
        if self._token is None:
            made = self.manage("api_token", "create", "tests", "--scopes=rooms", "--json")
            self._token = json.loads(made)["token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = httpx.post(
            f"{self.base_url}/api/v1/rooms", json={"title": title}, headers=headers, timeout=30
        )
        answer.raise_for_status()
        return f"{self.base_url}/r/{answer.json()['slug']}"

    def log(self) -> str:
        """What all of it wrote, to be shown when a test fails."""
        path = self.data_dir / "test.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def end(self) -> None:
        """End everything that was ever seen of it."""
        last = read_last_record(self.data_dir)
        self._seen |= {child.identity for child in last.children} if last is not None else set()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        for identity in self._seen:
            send_signal(identity, signal.SIGKILL)

    def _pids(self, kind: str) -> list[int]:
        children = self.record().children
        return [child.pid for child in children if child.name.startswith(kind) and is_alive(child.identity)]

    def _log(self) -> IO[bytes]:
        return (self.data_dir / "test.log").open("ab")


@contextmanager
def running_service(
    data_dir: Path, *, gateways: int = 2, workers: int = 2, descriptors: int | None = None, **environment: str
) -> Iterator[RunningService]:
    """A migrated, ready service; nothing of it is left afterwards."""
    assert BUILT.exists(), "the pages are not built: run `make setup`"
    service = RunningService(
        data_dir, gateways=gateways, workers=workers, descriptors=descriptors, **environment
    )
    service.manage("migrate", "--noinput")
    try:
        service.start()
        yield service
    finally:
        service.end()
