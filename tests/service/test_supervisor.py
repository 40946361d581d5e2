"""The supervisor over real processes: order, restarts, sessions, and nothing left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable.cluster.processes import ProcessIdentity, identify, is_alive, send_signal
from durable.service.discovery import find_service, read_last_record

pytestmark = pytest.mark.cluster

StartService = Callable[..., Any]
Eventually = Callable[..., Any]


def ask(port: int) -> int:
    """The process id of the gateway that answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return int(connection.makefile().read())


def sessions(service: Any) -> dict[str, int]:
    """The live sessions: worker id to process id."""
    with service.redis() as client:
        found = {key: client.get(key) for key in client.keys("durable:worker:*")}
    return {
        key.removeprefix("durable:worker:"): json.loads(text)["pid"] for key, text in found.items() if text
    }


def everything(service: Any) -> list[ProcessIdentity]:
    return [child.identity for child in service.record().children]


def test_it_reports_ready_when_every_process_serves(start_service: StartService) -> None:
    service = start_service(gateways=2, workers=2)
    record = service.wait_ready()
    assert record.ready
    assert sorted(child.name for child in record.children) == [
        "gateway 1",
        "gateway 2",
        "valkey",
        "worker 1",
        "worker 2",
    ]
    gateways = {service.child(name).pid for name in ("gateway 1", "gateway 2")}
    assert ask(record.port) in gateways
    assert set(sessions(service).values()) == {service.child(f"worker {n}").pid for n in (1, 2)}


def test_it_serves_with_a_spare_though_nobody_hears_that_it_is_ready(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(STAND_IN_SPARE="1")
    assert service.process.stdout is not None
    service.process.stdout.close()
    eventually(lambda: find_service(service.data_dir))
    eventually(lambda: service.child("spare worker"))
    url = service.record().url
    service.process.send_signal(signal.SIGTERM)
    assert service.process.stderr is not None
    assert f"the service is ready on {url}, which cannot be printed" in service.process.stderr.read()


def test_it_stops_cleanly_and_in_order(start_service: StartService) -> None:
    service = start_service()
    service.wait_ready()
    processes = everything(service)
    status, log = service.stop()
    assert status == 0, log
    assert not any(map(is_alive, processes))
    assert read_last_record(service.data_dir) is None
    assert "killing" not in log


def test_a_second_service_on_one_data_directory_is_refused_in_one_line(start_service: StartService) -> None:
    service = start_service()
    service.wait_ready()
    second = start_service()
    _, errors = second.process.communicate(timeout=10)
    assert second.process.returncode == 1
    assert errors.count("\n") == 1
    assert f"(pid {service.process.pid})" in errors
    assert service.record().ready


def test_a_busy_port_is_one_clear_line(start_service: StartService, data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = start_service(STAND_IN_PORT=str(port))
        _, errors = service.process.communicate(timeout=10)
    assert service.process.returncode == 1
    assert errors.strip() == (
        f"Port {port} on 127.0.0.1 is already in use: stop what listens there, or choose another with --port."
    )
    assert not (data_dir / "redis").exists()


def test_kill_9_of_the_supervisor_leaves_nothing_running(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=2, workers=2)
    record = service.wait_ready()
    processes = everything(service)
    assert len(processes) == 5
    service.process.kill()
    eventually(lambda: not any(map(is_alive, processes)), within=5)
    with socket.create_server(("127.0.0.1", record.port)):
        pass  # the port is free again


def test_a_stale_record_is_not_a_service(start_service: StartService, data_dir: Path) -> None:
    service = start_service()
    service.wait_ready()
    service.process.kill()
    service.process.wait()
    assert read_last_record(data_dir) is not None
    assert find_service(data_dir) is None


def test_a_service_starts_at_once_after_kill_9_and_ends_what_the_dead_one_left(
    start_service: StartService, eventually: Eventually
) -> None:
    first = start_service(gateways=0, workers=1)
    first.wait_ready()
    with first.redis() as client:
        client.set("kept", "yes")
    left = first.child("worker 1")
    send_signal(left, signal.SIGSTOP)  # it cannot notice that its supervisor dies
    first.process.kill()
    first.process.wait()
    second = start_service(gateways=0, workers=1)
    second.wait_ready()
    assert not is_alive(left)
    with second.redis() as client:
        assert client.get("kept") == "yes"


@pytest.mark.parametrize("name", ["gateway 1", "worker 1", "valkey"])
def test_what_dies_is_started_again(start_service: StartService, eventually: Eventually, name: str) -> None:
    service = start_service()
    record = service.wait_ready()
    before = service.child(name)
    others = [one for one in everything(service) if one != before]
    begun = time.monotonic()
    send_signal(before, signal.SIGKILL)
    after = eventually(lambda: (found := service.child(name)) != before and found)
    assert time.monotonic() - begun < 2.0
    assert all(map(is_alive, others))
    if name == "gateway 1":
        assert eventually(lambda: ask(record.port)) == after.pid
    if name == "worker 1":
        eventually(lambda: after.pid in sessions(service).values())


def test_connections_wait_in_the_shared_socket_while_a_gateway_restarts(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=1, workers=0)
    record = service.wait_ready()
    gateway = service.child("gateway 1")
    send_signal(gateway, signal.SIGSTOP)
    with socket.create_connection(("127.0.0.1", record.port), timeout=5) as waiting:
        send_signal(gateway, signal.SIGKILL)
        answered = int(waiting.makefile().read())
    assert answered == eventually(lambda: service.child("gateway 1")).pid


def test_O5_the_session_of_a_dead_worker_is_revoked_at_once(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(workers=2, STAND_IN_TTL="60")
    service.wait_ready()
    victim = service.child("worker 1")
    begun = time.monotonic()
    send_signal(victim, signal.SIGKILL)
    eventually(lambda: victim.pid not in sessions(service).values())
    assert time.monotonic() - begun < 0.5
    assert service.child("worker 2").pid in sessions(service).values()


def test_O5_sessions_of_a_service_that_died_are_revoked_at_the_next_start(
    start_service: StartService,
) -> None:
    first = start_service(gateways=0, workers=2, STAND_IN_TTL="60")
    first.wait_ready()
    processes = everything(first)
    for one in [*processes, ProcessIdentity(first.process.pid, first.record().pid_started)]:
        send_signal(one, signal.SIGKILL)
    first.process.wait()
    second = start_service(gateways=0, workers=1, STAND_IN_TTL="60")
    second.wait_ready()
    assert list(sessions(second).values()) == [second.child("worker 1").pid]


def test_O4_a_stopped_process_is_killed_when_its_session_has_expired(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    victim, other = service.child("worker 1"), service.child("worker 2")
    send_signal(victim, signal.SIGSTOP)
    # Its session lives a second, and the supervisor looks twice a second.
    eventually(lambda: not is_alive(victim), within=3)
    assert eventually(lambda: service.child("worker 1")) != victim
    assert service.child("worker 2") == other


def test_a_worker_that_runs_without_a_session_is_killed_after_a_grace(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=1, STAND_IN="mute")
    service.wait_ready()
    victim = service.child("worker 1")
    eventually(lambda: not sessions(service))
    assert is_alive(victim)
    eventually(lambda: not is_alive(victim), within=4)


def test_a_worker_that_registers_anew_is_left_alone_and_its_new_session_revoked_at_its_end(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=1, STAND_IN_TTL="60")
    service.wait_ready()
    worker = service.child("worker 1")
    (first,) = sessions(service)
    with service.redis() as client:
        client.delete(f"durable:worker:{first}")
    (second,) = eventually(lambda: sessions(service).keys() - {first})
    assert is_alive(worker)
    send_signal(worker, signal.SIGKILL)
    eventually(lambda: second not in sessions(service), within=2)


def test_a_child_that_refuses_ends_the_start(start_service: StartService, data_dir: Path) -> None:
    service = start_service(STAND_IN="refuse")
    _, errors = service.process.communicate(timeout=20)
    assert service.process.returncode == 1
    assert "worker 1 refuses to start" in errors.splitlines()[-1]
    assert find_service(data_dir) is None


def test_a_child_that_never_becomes_ready_ends_the_start(start_service: StartService) -> None:
    service = start_service(STAND_IN="crash")
    _, errors = service.process.communicate(timeout=20)
    assert service.process.returncode == 1
    assert "worker 1 ended 3 times before it was ready (exit 3)" in errors.splitlines()[-1]


def test_a_second_request_to_stop_ends_at_once(start_service: StartService, eventually: Eventually) -> None:
    service = start_service(STAND_IN="stubborn")
    service.wait_ready()
    processes, gateway = everything(service), service.child("gateway 1")
    service.process.send_signal(signal.SIGINT)
    eventually(lambda: not is_alive(gateway))
    assert service.process.poll() is None  # it waits for the worker, which does not want to
    begun = time.monotonic()
    service.process.send_signal(signal.SIGINT)
    service.process.communicate(timeout=10)
    assert service.process.returncode == 0
    assert time.monotonic() - begun < 5
    assert not any(map(is_alive, processes))


def test_a_stop_during_the_start_stops(
    start_service: StartService, eventually: Eventually, data_dir: Path
) -> None:
    service = start_service()
    eventually(lambda: find_service(data_dir))
    status, log = service.stop()
    assert status == 0, log
    assert find_service(data_dir) is None


@pytest.mark.skipif(sys.platform != "linux", reason="looks for a process in /proc")
def test_a_stop_does_not_wait_for_a_redis_that_reads_its_data(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service()

    def embedded() -> list[ProcessIdentity]:
        """Redis, or what is about to become it."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cwd").readlink() == service.data_dir / "redis":
                    found.append(identify(int(folder.name)))
        return [identity for identity in found if identity is not None]

    (redis, *_) = eventually(embedded)
    send_signal(redis, signal.SIGSTOP)
    status, log = service.stop(within=15)
    assert status == 0, log
    assert not is_alive(redis)


def test_with_a_redis_of_its_own_the_service_starts_none(
    start_service: StartService, eventually: Eventually, tmp_path: Path
) -> None:
    service = start_service(gateways=0)
    url = service.wait_ready().redis_url
    command = [
        sys.executable,
        str(Path(__file__).with_name("stand_in.py")),
        "service",
        str(tmp_path),
        "0",
        "1",
    ]
    environment = {
        **os.environ,
        "STAND_IN_REDIS": url,
        "DATA_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline().startswith("ready on")
            record = json.loads((tmp_path / "service.json").read_text())
            assert record["redis_url"] == url
            assert [child["name"] for child in record["children"]] == ["worker 1"]
        finally:
            other.terminate()
    assert other.returncode == 0
    assert service.redis().ping()


def test_a_redis_that_does_not_answer_is_one_clear_line(start_service: StartService) -> None:
    service = start_service(STAND_IN_REDIS="unix:///nonexistent/redis.sock")
    _, errors = service.process.communicate(timeout=20)
    assert service.process.returncode == 1
    assert errors.startswith("Redis cannot be reached")
    assert errors.count("\n") == 1
