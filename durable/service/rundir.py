"""The runtime directory: a short, private place for the Unix sockets of one data directory.

A Unix socket's path is at most 107 bytes (103 on macOS), which a socket inside a data directory would often pass.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .errors import ServiceError

#: What a socket's file name may add to the directory: workers name theirs after a UUID.
LONGEST_SOCKET_NAME = 48
_LONGEST_SOCKET_PATH = 103


def runtime_directory(data_dir: Path, bases: Iterable[Path] | None = None) -> Path:
    """Make sure of the runtime directory of ``data_dir`` and return it: mode 0700, ours, the same for every process.

    ``bases`` are the directories it may be made in, the first that fits is used
    (default: ``$XDG_RUNTIME_DIR``, the temporary directory, ``/tmp``).
    """
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    name = f"durable-{os.getuid()}-{digest}"
    for base in _default_bases() if bases is None else bases:
        path = base / name
        if len(os.fsencode(path)) + 1 + LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH and os.access(
            base, os.W_OK
        ):
            return _private(path)
    raise ServiceError("No directory short enough for Unix sockets: set XDG_RUNTIME_DIR to a writable one.")


def remove_dead_sockets(directory: Path) -> None:
    """Remove the sockets in ``directory`` that nothing listens on any more."""
    for path in directory.iterdir():
        if path.is_socket() and not _answers(path):
            path.unlink(missing_ok=True)


def make_private_directory(path: Path) -> Path:
    """Make a directory (and its parents) that only this user may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != 0o700:
        with contextlib.suppress(PermissionError):  # somebody else's directory that we may use: their choice
            path.chmod(0o700)
    return path


def _default_bases() -> list[Path]:
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [Path(named)] if named else []
    return [*bases, Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - made private, and refused when it is not ours


def _private(path: Path) -> Path:
    """Make ``path`` 0700, and refuse one that somebody else has put there (temporary directories are shared)."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ServiceError(
            f"{path} exists and is not this user's directory: remove it, or set XDG_RUNTIME_DIR."
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
