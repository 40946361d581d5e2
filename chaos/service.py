"""The service under test: `manage.py serve` with its real processes, found through its own record and killed from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from durable.cluster.processes import ProcessIdentity, is_alive, send_signal
from durable.cluster.redis import RedisCluster
from durable.errors import UnavailableError
from durable.service.discovery import ServiceRecord, find_service, read_last_record

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = "chaos.settings"
SCOPES = "objects,rooms,counters,limiter"
_OWN = ("API_AUTH", "DATABASE_URL", "DEBUG", "GATEWAYS", "REDIS_URL", "TRUSTED_PROXY_COUNT", "WORKERS")
_READY_WITHIN = 60.0
_STOP_WITHIN = 40.0


class ServiceFailedError(Exception):
    """The service did not do what a run cannot go on without."""


async def until(condition: Callable[[], object], within: float, what: str) -> float:
    """Wait for a condition; the seconds it took. Raises ServiceFailedError, naming `what`, after `within` seconds."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > within:
            raise ServiceFailedError(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


class Service:
    """One service on a data directory of its own. Starting it again keeps the data and the address."""

    def __init__(self, data_dir: Path, *, gateways: int, workers: int) -> None:
        self.data_dir = data_dir
        self.gateways = gateways
        self.workers = workers
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.token = ""
        self.log_path = data_dir / "service.log"
        kept = {name: value for name, value in os.environ.items() if name not in _OWN}
        own = {"DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": SETTINGS, "API_AUTH": "open"}
        self._environment = {**kept, **own}
        self._process: asyncio.subprocess.Process | None = None
        self._seen: set[ProcessIdentity] = set()

    # -- its life

    async def prepare(self) -> None:
        """Make its database and a token for the clients."""
        await self._manage("migrate", "--noinput")
        made = await self._manage("api_token", "create", "chaos", f"--scopes={SCOPES}", "--json")
        self.token = json.loads(made)["token"]

    async def start(self) -> float:
        """Start it, and wait until every process is ready; the seconds that took."""
        begun = time.monotonic()
        command = [sys.executable, "manage.py", "serve", f"--port={self.port}"]
        command += [f"--gateways={self.gateways}", f"--workers={self.workers}"]
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        await until(self._is_ready, _READY_WITHIN, "the service is ready")
        return time.monotonic() - begun

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise ServiceFailedError(
                f"the service ended at start ({self._process.returncode}): {self.log_path}"
            )
        record = find_service(self.data_dir)
        return record is not None and record.ready

    async def stop(self) -> None:
        """SIGTERM, and wait for the orderly end."""
        assert self._process is not None
        self._process.terminate()
        await asyncio.wait_for(self._process.wait(), _STOP_WITHIN)
        self._process = None

    async def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone; its children end by themselves."""
        assert self._process is not None
        children = self.record().children
        self._process.kill()
        await self._process.wait()
        self._process = None
        gone = lambda: not any(is_alive(child.identity) for child in children)  # noqa: E731
        await until(gone, 15.0, "the children of a killed supervisor end")

    async def kill_everything(self) -> None:
        """kill -9 of all its processes at once."""
        assert self._process is not None
        children = self.record().children
        self._process.kill()
        for child in children:
            send_signal(child.identity, signal.SIGKILL)
        await self._process.wait()
        self._process = None

    async def end(self) -> None:
        """End everything that was ever seen of it."""
        with contextlib.suppress(ServiceFailedError):
            self.record()
        if (last := read_last_record(self.data_dir)) is not None:
            self._seen |= {child.identity for child in last.children}
        for identity in self._seen:
            send_signal(identity, signal.SIGCONT)
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await self.stop()
            if self._process is not None:
                self._process.kill()
                await self._process.wait()
        for identity in self._seen:
            send_signal(identity, signal.SIGKILL)

    # -- its processes

    def record(self) -> ServiceRecord:
        """What the service says about itself. Raises ServiceFailedError when it does not run."""
        record = find_service(self.data_dir)
        if record is None:
            raise ServiceFailedError("the service does not run")
        self._seen |= {child.identity for child in record.children}
        return record

    def processes(self, role: str) -> list[ProcessIdentity]:
        """The living processes whose name begins with `role`: worker, gateway, valkey, spare."""
        children = self.record().children
        named = [child.identity for child in children if child.name.startswith(role)]
        return [identity for identity in named if is_alive(identity)]

    def any_of(self, role: str, chance: random.Random) -> ProcessIdentity:
        """One of those, by chance."""
        found = self.processes(role)
        if not found:
            raise ServiceFailedError(f"no {role} runs")
        return chance.choice(found)

    async def registered(self, role: str) -> set[int]:
        """The processes of a role that have joined the cluster; none while Redis does not answer."""
        redis = RedisCluster(self.record().redis_url)
        try:
            sessions = await (redis.list_workers() if role == "worker" else redis.list_gateways())
            return {session.pid for session in sessions}
        except UnavailableError:
            return set()
        finally:
            await redis.close()

    def kill(self, identity: ProcessIdentity, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to exactly this process."""
        send_signal(identity, number)

    async def replaced(self, identity: ProcessIdentity, role: str, within: float = 30.0) -> None:
        """Wait until a process is gone and its role has as many as it should, which all have joined."""
        await until(lambda: not is_alive(identity), within, f"a {role} ends")
        await self.complete(role, within)

    async def complete(self, role: str, within: float = 30.0) -> None:
        """Wait until a role has as many processes as it should, which all have joined the cluster."""
        wanted = self.workers if role == "worker" else self.gateways
        deadline = time.monotonic() + within
        while True:
            running = {one.pid for one in self.processes(role)}
            if len(running & await self.registered(role)) >= wanted:
                return
            if time.monotonic() > deadline:
                raise ServiceFailedError(f"not within {within:g} s: {wanted} {role}s serve")
            await asyncio.sleep(0.05)

    async def _manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self._environment, stdout=pipe, stderr=pipe
        )
        out, err = await process.communicate()
        if process.returncode != 0:
            raise ServiceFailedError(f"{' '.join(arguments)} failed: {err.decode(errors='replace')[-2000:]}")
        return out.decode()


def _free_port() -> int:
    """A port nobody listens on, below those the system hands out: a client that retries must not connect to itself."""
    for port in random.sample(range(9400, 29_999), 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceFailedError("no port is free")
