"""The runtime directory: short, private, and the same for everybody who asks."""

import socket
from pathlib import Path

import pytest

from durable.service.errors import ServiceError
from durable.service.rundir import remove_dead_sockets, runtime_directory


def test_it_is_private_and_the_same_every_time(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    first = runtime_directory(data_dir, [Path("/tmp")])
    try:
        assert first == runtime_directory(data_dir, [Path("/tmp")])
        assert first != runtime_directory(tmp_path, [Path("/tmp")])
        assert first.stat().st_mode & 0o777 == 0o700
    finally:
        first.rmdir()
        runtime_directory(tmp_path, [Path("/tmp")]).rmdir()


def test_a_socket_in_it_can_be_bound_however_long_the_data_directory_is(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 50)
    path = runtime_directory(data_dir, [tmp_path / ("deep" * 20), Path("/tmp")])
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path / ("w" * 48)))
    finally:
        (path / ("w" * 48)).unlink()
        path.rmdir()


def test_something_else_in_its_place_is_refused(tmp_path: Path) -> None:
    base = Path("/tmp")
    path = runtime_directory(tmp_path, [base])
    path.rmdir()
    path.symlink_to(tmp_path)
    try:
        with pytest.raises(ServiceError, match="is not this user's directory"):
            runtime_directory(tmp_path, [base])
    finally:
        path.unlink()


def test_a_loosened_mode_is_tightened_again(tmp_path: Path) -> None:
    path = runtime_directory(tmp_path, [Path("/tmp")])
    try:
        path.chmod(0o777)
        assert runtime_directory(tmp_path, [Path("/tmp")]).stat().st_mode & 0o777 == 0o700
    finally:
        path.rmdir()


def test_only_sockets_that_nobody_listens_on_are_removed(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as alive,
        socket.socket(socket.AF_UNIX) as dead,
    ):
        alive.bind(str(tmp_path / "alive"))
        alive.listen()
        dead.bind(str(tmp_path / "dead"))
        (tmp_path / "file").touch()
        remove_dead_sockets(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "file"]
