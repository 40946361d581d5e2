"""The two sides of a contest: our service as `make run` starts it, and each peer as its users would run it.

A peer answers at the addresses of our service, so that the same generator asks both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chat import PLAIN, ROOM, Dialect
from benchmarks.counters import OPEN, SHUT, Service
from benchmarks.load import HttpConnection
from benchmarks.processes import Holding, busy_seconds, family, holding
from benchmarks.subjects.limits import FRAME_RATE
from durable.conf import DurableSettings
from durable.service.valkey import find_binary
from tests.running_service import ROOT, RunningService, free_port, running_service

from .processes import PeerMissingError, last_line, npm_packages, program, started, wheels

MESSAGE_RATE = FRAME_RATE
"""Frames a second that one member may send; see `benchmarks.subjects.asgi`."""


@dataclass(frozen=True)
class Side:
    """A running server.

    Args:
        name: "ours", or the peer's.
        port: on 127.0.0.1.
        roots: processes of it, of the moment, from which all others descend.
        dialect: what its chat speaks.
        rooms: makes so many rooms; their names.
        counters: how its counters are asked.
    """

    name: str
    port: int
    roots: Callable[[], Sequence[int]]
    dialect: Dialect = ROOM
    rooms: Callable[[int], list[str]] = lambda count: [f"room-{n}" for n in range(count)]
    counters: Callable[[str, float, Callable[[], float]], Service] = Service

    def service(self, seconds: float) -> Service:
        """Its counters and limiters, for runs of so many seconds."""
        return self.counters(f"http://127.0.0.1:{self.port}", seconds, self.busy_seconds)

    def holding(self) -> Holding:
        """What all its processes hold."""
        each = [holding(pid) for pid in self._pids()]
        return Holding(sum(one.kib for one in each), sum(one.descriptors for one in each))

    def busy_seconds(self) -> float:
        """Processor time that all its processes have used."""
        return sum(map(busy_seconds, self._pids()))

    def _pids(self) -> set[int]:
        return {pid for root in self.roots() for pid in family(root)}


@contextmanager
def ours() -> Iterator[Side]:
    """The whole service with its default number of processes, and two policies."""
    defaults = DurableSettings(data_dir=Path("unused"))
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.subjects.settings"}
    with (
        _directory() as directory,
        running_service(
            directory, gateways=defaults.gateways, workers=defaults.workers, **settings
        ) as running,
    ):
        _policy(running, OPEN, 1_000_000, 60)
        _policy(running, SHUT, 1, 3600)
        made: list[str] = []

        def rooms(count: int) -> list[str]:
            while len(made) < count:
                made.append(running.create_room(f"Bench {len(made)}").rpartition("/")[2])
            return made[:count]

        yield Side(
            "ours", running.port, lambda: [child.pid for child in running.record().children], rooms=rooms
        )


def _policy(running: RunningService, name: str, limit: int, seconds: int) -> None:
    made = running.manage("api_token", "create", name, "--scopes=limiter", "--json")
    headers = {"Authorization": f"Bearer {json.loads(made)['token']}", "Content-Type": "application/json"}
    # One object for all keys, as the peer has one.
    body = json.dumps({"limit": limit, "window_seconds": seconds, "shards": 1}).encode()
    address = f"{running.base_url}/api/v1/limiters/{name}"
    with urllib.request.urlopen(urllib.request.Request(address, body, headers, method="PUT"), timeout=30):
        pass


@contextmanager
def workerd() -> Iterator[Side]:
    """workerd with classes that keep their objects as SQLite files on the local disk."""
    binaries = list(npm_packages("workerd").glob("@cloudflare/workerd-*/bin/workerd"))
    with _directory() as directory:
        port = free_port()
        (directory / "objects").mkdir()
        command = [
            str(binaries[0]) if binaries else "workerd",
            "serve",
            str(Path(__file__).parent / "workerd/config.capnp"),
        ]
        command += [
            f"--socket-addr=http=127.0.0.1:{port}",
            f"--directory-path=objects={directory / 'objects'}",
        ]
        with started(command, port, directory / "log") as pid:
            yield Side("workerd", port, lambda: [pid])


@contextmanager
def channels() -> Iterator[Side]:
    """The chat of Channels' tutorial on Daphne, with a channel layer in a Redis of its own."""
    with _directory() as directory, _redis(directory, "no") as (redis, redis_pid):
        port = free_port()
        application = "benchmarks.peers.channels_tutorial.asgi:application"
        command = [sys.executable, "-m", "daphne", "-v0", "-b", "127.0.0.1", "-p", str(port), application]
        environment = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.peers.channels_tutorial.settings",
            "PEER_DATABASE": str(directory / "database.sqlite3"),
            "PEER_REDIS": f"redis://127.0.0.1:{redis}",
        }
        _migrate(environment)
        with started(command, port, directory / "log", environment) as pid:
            yield Side("channels", port, lambda: [pid, redis_pid], dialect=PLAIN)


@contextmanager
def ws() -> Iterator[Side]:
    """A room in the memory of one Node process."""
    npm_packages("ws")
    with _directory() as directory:
        port = free_port()
        command = [program("node"), str(Path(__file__).parent / "ws" / "room.js"), str(port)]
        with started(command, port, directory / "log") as pid:
            yield Side("ws", port, lambda: [pid], dialect=PLAIN)


@contextmanager
def redis() -> Iterator[Side]:
    """Redis itself, synced before it answers: a counter is a key."""
    with _directory() as directory, _redis(directory, "yes") as (port, pid):
        yield Side("redis", port, lambda: [pid], counters=RedisCounters)


@contextmanager
def _redis(directory: Path, persistent: str) -> Iterator[tuple[int, int]]:
    """(port, pid) of a server; a persistent one syncs every write before it answers."""
    port = free_port()
    command = [
        str(find_binary()),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        str(directory),
        "--save",
        "",
    ]
    command += ["--appendonly", persistent, "--appendfsync", "always"]
    with started(command, port, directory / "redis.log") as pid:
        yield port, pid


@contextmanager
def django() -> Iterator[Side]:
    """A Django view that counts in SQLite, synced at each commit, on uvicorn."""
    with (
        _directory() as directory,
        _django(directory, {"PEER_DATABASE": str(directory / "db.sqlite3")}) as side,
    ):
        yield side


@contextmanager
def django_postgresql() -> Iterator[Side]:
    """The same view, counting in PostgreSQL with its default settings, which sync at each commit."""
    packages = wheels("django_view", "psycopg==3.3.9", "psycopg-binary==3.3.9", "psycopg-pool==3.3.3")
    initdb, postgres = program("initdb"), program("postgres")
    # PostgreSQL refuses to run as root; packages of it bring a user of this name.
    user = "postgres" if os.getuid() == 0 else None
    with _directory() as directory, ExitStack() as stack:
        port, data = free_port(), directory / "data"
        if user:
            shutil.chown(directory, user)
        command = [initdb, "-D", str(data), "-U", "bench", "-A", "trust"]
        done = subprocess.run(command, capture_output=True, text=True, user=user, cwd=directory)
        if done.returncode != 0:
            raise PeerMissingError(f"initdb failed: {last_line(done.stderr)}")
        command = [postgres, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(directory)]
        server = stack.enter_context(started(command, port, directory / "postgres.log", user=user))
        environment = {"PEER_DATABASE": f"postgresql:{port}", "PYTHONPATH": str(packages)}
        yield stack.enter_context(_django(directory, environment, server))


@contextmanager
def _django(directory: Path, environment: dict[str, str], *others: int) -> Iterator[Side]:
    environment = {"DJANGO_SETTINGS_MODULE": "benchmarks.peers.django_view.settings", **environment}
    _migrate(environment)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.peers.django_view.asgi:application",
        "--workers=2",
    ]
    command += ["--host=127.0.0.1", f"--port={port}", "--log-level=warning", "--lifespan=off"]
    with started(command, port, directory / "log", environment) as pid:
        yield Side("django", port, lambda: [pid, *others])


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v0"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise PeerMissingError(f"its database could not be made: {last_line(done.stderr)}")


class RedisConnection(HttpConnection):
    """The closed loop in Redis' protocol: an integer or a short string is a 200, anything else a 500."""

    def parse(self, data: bytes) -> tuple[int, bytes, int] | None:
        line_end = data.find(b"\r\n")
        if line_end < 0:
            return None
        kind, value, size = data[:1], data[1:line_end], line_end + 2
        if kind == b"$" and value != b"-1":
            start, size = size, size + int(value) + 2
            if len(data) < size:
                return None
            value = data[start : size - 2]
        return (200 if kind in b":$" else 500), (b"0" if value == b"-1" else value), size


class RedisCounters(Service):
    """Counters that are keys: our paths become commands."""

    protocol = RedisConnection

    def value(self, counter: str) -> int:
        return self.total([counter])

    def stored(self, body: bytes) -> int:
        return int(body)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        name = path.removeprefix("/api/v1/counters/").removesuffix("/increment").encode()
        command = b"INCR" if method == "POST" else b"GET"
        return b"*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(command), command, len(name), name)


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="peer-") as directory:
        yield Path(directory)
