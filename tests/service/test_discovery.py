"""The record of a running service, and the processes it names."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable.cluster.processes import (
    ProcessIdentity,
    end_process,
    identify,
    identify_self,
    is_alive,
    is_stopped,
    send_signal,
)
from durable.service.discovery import (
    ServiceRecord,
    find_service,
    local_url,
    read_last_record,
    remove_record,
    write_record,
)
from durable.service.errors import ServiceError
from durable.service.lock import ServiceLock


def a_record(**changes: Any) -> ServiceRecord:
    me = identify_self()
    record = ServiceRecord(
        pid=me.pid,
        pid_started=me.started,
        redis_url="unix:///tmp/x/redis.sock",
        runtime_dir="/tmp/x",
        host="127.0.0.1",
        port=8000,
        started=1,
    )
    return msgspec.structs.replace(record, **changes)


def test_a_running_service_is_found_by_its_data_directory(tmp_path: Path) -> None:
    write_record(tmp_path, a_record())
    assert find_service(tmp_path) == a_record()
    assert (tmp_path / "service.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["service.json"]


def test_without_a_record_there_is_no_service(tmp_path: Path) -> None:
    assert find_service(tmp_path) is None
    write_record(tmp_path, a_record())
    remove_record(tmp_path)
    remove_record(tmp_path)
    assert find_service(tmp_path) is None


def test_a_record_whose_process_id_was_used_again_is_stale(tmp_path: Path) -> None:
    write_record(tmp_path, a_record(pid_started=identify_self().started - 1))
    assert find_service(tmp_path) is None
    assert read_last_record(tmp_path) is not None


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": "x"}', b"[]"])
def test_a_record_that_cannot_be_read_is_no_service(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "service.json").write_bytes(content)
    assert find_service(tmp_path) is None


def test_the_address_is_one_that_a_browser_here_can_use() -> None:
    assert local_url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert local_url("::", 80) == "http://[::1]:80"
    assert local_url("example.org", 8000) == "http://example.org:8000"


def test_the_lock_is_free_again_after_release(tmp_path: Path) -> None:
    with ServiceLock(tmp_path / "new"):
        assert (tmp_path / "new" / "service.lock").read_text() == f"{os.getpid()}\n"
    with ServiceLock(tmp_path / "new"):
        pass


def test_a_data_directory_that_cannot_be_locked_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "service.lock").mkdir()
    with pytest.raises(ServiceError, match="cannot be used: .*service.lock") as caught:
        ServiceLock(tmp_path).acquire()
    assert "\n" not in str(caught.value)


def test_a_process_is_known_by_id_and_start_time(eventually: Callable[..., Any]) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        identity = identify(process.pid)
        assert identity is not None
        assert is_alive(identity)
        impostor = ProcessIdentity(identity.pid, identity.started + 1)
        assert not is_alive(impostor)
        assert not send_signal(impostor, signal.SIGKILL)
        assert is_alive(identity)
        assert send_signal(identity, signal.SIGSTOP)
        eventually(lambda: is_stopped(identity))
        assert send_signal(identity, signal.SIGKILL)
        eventually(lambda: not is_alive(identity))  # a zombie until it is waited for
        assert identify(process.pid) is None
    assert not send_signal(identity, signal.SIGKILL)


def test_a_process_that_ignores_the_request_is_killed(eventually: Callable[..., Any]) -> None:
    program = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = identify(process.pid)
        assert identity is not None
        assert end_process(identity, patience=0.1)
    assert process.returncode == -signal.SIGKILL
