"""Roll-outs over real processes: new code comes in one process after the other, and code that does not start changes nothing."""

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable.cluster.processes import ProcessIdentity, is_alive, send_signal
from durable.service.control import SOCKET_NAME, Step, ask_for_rollout
from durable.service.errors import ServiceError
from durable.service.rundir import runtime_directory

from .conftest import STAND_IN, Service

pytestmark = pytest.mark.cluster

StartService = Callable[..., Service]
Eventually = Callable[..., Any]


def deploy(service: Service, code: str) -> None:
    """Put other code on disk."""
    (service.data_dir / "code").write_text(code)


def roll_out(service: Service, *, gateways: bool = False) -> list[Step]:
    """Have the code on disk rolled out; all steps."""
    return list(ask_for_rollout(runtime_directory(service.data_dir), gateways=gateways))


def running_code(service: Service) -> list[tuple[str, str]]:
    """(place, code) of the live sessions, in order."""
    with service.redis() as client:
        found = [json.loads(text) for key in client.keys("durable:worker:*") if (text := client.get(key))]
    return sorted((session["place"], session["code"]) for session in found)


def processes(service: Service, kind: str) -> list[ProcessIdentity]:
    """The processes of a kind that live now."""
    return [
        child.identity
        for child in service.record().children
        if child.name.startswith(kind) and is_alive(child.identity)
    ]


def loaded_spare(service: Service) -> ProcessIdentity | None:
    """The spare worker, once it has read the code."""
    spare = service.child("spare worker")
    return spare if spare is not None and (service.data_dir / f"loaded.{spare.pid}").exists() else None


def test_O9_each_worker_is_replaced_by_one_of_the_new_code_in_its_place(start_service: StartService) -> None:
    service = start_service(gateways=1, workers=2)
    service.wait_ready()
    before, gateway = processes(service, "worker"), service.child("gateway 1")
    deploy(service, "second")
    steps = roll_out(service)
    assert steps[-1].state == "done"
    assert [step.message for step in steps if "/" in step.message] == [
        "worker 1/2 replaced",
        "worker 2/2 replaced",
    ]
    assert running_code(service) == [("worker 1", "second"), ("worker 2", "second")]
    assert not set(before) & set(processes(service, "worker"))
    assert len(processes(service, "worker")) == 2
    assert service.child("gateway 1") == gateway
    status, log = service.stop()
    assert status == 0, log


def test_SIGHUP_is_a_roll_out(start_service: StartService, eventually: Eventually) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    deploy(service, "second")
    service.process.send_signal(signal.SIGHUP)
    second = [("worker 1", "second"), ("worker 2", "second")]
    eventually(lambda: running_code(service) == second and len(processes(service, "worker")) == 2)


def test_O6_the_old_process_is_asked_to_end_when_the_new_one_serves(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=1)
    service.wait_ready()
    (old,) = processes(service, "worker")
    deploy(service, "never")
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(processes(service, "worker")) == 2)
    assert is_alive(old)
    assert running_code(service) == [("worker 1", "")]


def test_the_gateways_follow_when_asked_to_and_nobody_is_refused_meanwhile(
    start_service: StartService,
) -> None:
    service = start_service(gateways=2, workers=1)
    record = service.wait_ready()
    before = processes(service, "gateway")
    refused: list[OSError] = []
    answered: set[int] = set()
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", record.port), timeout=5) as connection:
                    answered.add(int(connection.makefile().read() or 0))
            except OSError as error:
                refused.append(error)

    knocking = threading.Thread(target=knock)
    knocking.start()
    steps = roll_out(service, gateways=True)
    over.set()
    knocking.join(10)
    assert steps[-1].state == "done"
    assert not set(before) & set(processes(service, "gateway"))
    assert not refused
    assert answered & {one.pid for one in processes(service, "gateway")}


@pytest.mark.parametrize(
    ("code", "said", "detail"),
    [
        ("crash", "worker 1 ended before it was ready (exit 3).", "Traceback: it is broken"),
        ("refuse", "worker 1 ended before it was ready (exit 78).", ""),
        ("never", "worker 1 was not ready within 8 s.", ""),
        ("foreign", "The new code speaks version 99 of the link", ""),
        ("older", "The new code has 1 migrations of Room, worker 1 has 2: it could not open what", ""),
        ("bad", "The new code does not pass its checks (exit 1).", "the check says no"),
    ],
)
def test_O9_code_that_does_not_start_stops_the_roll_out(
    start_service: StartService, code: str, said: str, detail: str
) -> None:
    patience = {"STAND_IN_WITHIN": "8"} if code == "never" else {}
    service = start_service(gateways=1, workers=2, STAND_IN_CHECK="1", **patience)
    service.wait_ready()
    before = processes(service, "worker")
    deploy(service, code)
    last = roll_out(service)[-1]
    assert last.state == "failed"
    assert said in last.message
    assert detail in last.detail
    assert processes(service, "worker") == before
    assert running_code(service) == [("worker 1", ""), ("worker 2", "")]
    deploy(service, "mended")
    assert roll_out(service)[-1].state == "done"
    _, log = service.stop()
    assert said in log
    assert detail in log


def test_a_new_worker_that_ends_soon_stops_the_roll_out_before_the_next(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    deploy(service, "once")
    last = roll_out(service)[-1]
    assert last.state == "failed"
    assert last.message.startswith("worker 1 ended soon after it began to serve")
    assert ("worker 2", "") in running_code(service)


def test_what_was_replaced_before_a_failure_stays(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    deploy(service, "second")
    steps = ask_for_rollout(runtime_directory(service.data_dir), gateways=False)
    last = None
    for last in steps:
        if "serves with the new code" in last.message:
            deploy(service, "crash")
    assert last is not None
    assert last.state == "failed"
    assert running_code(service) == [("worker 1", "second"), ("worker 2", "")]


def test_after_a_failed_roll_out_the_log_says_what_the_end_of_a_worker_means(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    deploy(service, "crash")
    assert roll_out(service)[-1].state == "failed"
    kept = service.child("worker 2")
    victim = service.child("worker 1")
    assert victim is not None
    send_signal(victim, signal.SIGKILL)
    eventually(lambda: running_code(service) == [("worker 2", "")])
    deploy(service, "mended")
    eventually(lambda: running_code(service) == [("worker 1", "mended"), ("worker 2", "")])
    assert service.child("worker 2") == kept
    _, log = service.stop()
    assert "which failed at the last roll-out: worker 1 ended before it was ready (exit 3)." in log


def test_a_spare_of_the_old_code_stands_in_until_new_code_serves_and_never_after(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=1, STAND_IN_SPARE="1")
    service.wait_ready()
    old = eventually(lambda: loaded_spare(service))
    deploy(service, "crash")
    assert roll_out(service)[-1].state == "failed"
    assert service.child("spare worker") == old
    deploy(service, "second")
    assert roll_out(service)[-1].state == "done"
    assert running_code(service) == [("worker 1", "second")]
    new = eventually(lambda: (found := loaded_spare(service)) != old and found)
    assert not is_alive(old)
    victim = service.child("worker 1")
    send_signal(victim, signal.SIGKILL)
    eventually(lambda: service.child("worker 1") == new)
    eventually(lambda: running_code(service) == [("worker 1", "second")])


def test_an_old_worker_that_dies_in_the_middle_comes_back_and_is_replaced_too(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=2)
    service.wait_ready()
    old = service.child("worker 2")
    deploy(service, "second")
    last = None
    for last in ask_for_rollout(runtime_directory(service.data_dir), gateways=False):
        if last.message == "worker 1/2 replaced":
            send_signal(old, signal.SIGKILL)
    assert last is not None
    assert last.state == "done"
    assert running_code(service) == [("worker 1", "second"), ("worker 2", "second")]


def test_a_stop_in_the_middle_ends_everything(start_service: StartService, eventually: Eventually) -> None:
    service = start_service(gateways=1, workers=1)
    service.wait_ready()
    deploy(service, "never")
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            roll_out(service)
        except ServiceError as error:
            asked.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: len(processes(service, "worker")) == 2)
    everything = [child.identity for child in service.record().children]
    status, log = service.stop()
    asking.join(10)
    assert status == 0, log
    assert str(asked[0]) == "The service ended during the roll-out."
    assert not any(map(is_alive, everything))


def test_one_roll_out_waits_for_another_and_a_third_is_refused(
    start_service: StartService, eventually: Eventually
) -> None:
    service = start_service(gateways=0, workers=1)
    service.wait_ready()
    deploy(service, "never")
    runtime_dir = runtime_directory(service.data_dir)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(processes(service, "worker")) == 2)
    second = ask_for_rollout(runtime_dir, gateways=False)
    assert next(second).message == "waiting for the roll-out that is under way"
    third = list(ask_for_rollout(runtime_dir, gateways=False))
    assert [step.state for step in third] == ["failed"]
    assert "another one waits already" in third[0].message
    stuck = processes(service, "worker")[-1]
    deploy(service, "second")
    send_signal(stuck, signal.SIGKILL)  # the first one fails; what waited goes on
    assert list(second)[-1].state == "done"
    assert running_code(service) == [("worker 1", "second")]


def test_the_control_socket_is_private_and_survives_nonsense(start_service: StartService) -> None:
    service = start_service(gateways=0, workers=1)
    service.wait_ready()
    path = runtime_directory(service.data_dir) / SOCKET_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for sent, said in (
        (b"nonsense\n", "the order cannot be read"),
        (b'{"version":9}\n', "of other code than this command"),
        (b"x" * 100_000 + b"\n", "the order cannot be read"),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            connection.sendall(sent)
            assert said in json.loads(connection.makefile().readline())["message"]
    assert roll_out(service)[-1].state == "done"
    service.stop()
    assert not path.exists()


def test_a_service_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="cannot be asked"):
        list(ask_for_rollout(tmp_path, gateways=False))


def test_the_end_of_the_terminal_stops_the_service(data_dir: Path, eventually: Eventually) -> None:
    """A terminal that goes away sends SIGHUP as well."""
    master, slave = pty.openpty()
    program = (
        "import fcntl, os, runpy, sys, termios\n"
        "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"sys.argv = ['stand_in', 'service', {str(data_dir)!r}, '0', '1']\n"
        f"runpy.run_path({str(STAND_IN)!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", program]
    root = str(STAND_IN.parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "DATA_DIR": str(data_dir)}
    service = Service.__new__(Service)
    service.data_dir, service.seen = data_dir, set()
    service.process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(slave)
    try:
        service.wait_ready()
        workers = processes(service, "worker")
        os.close(master)
        _, log = service.process.communicate(timeout=10)
        assert service.process.returncode == 0, log
        assert "the terminal is gone" in log
        assert not any(map(is_alive, workers))
    finally:
        service.end()
