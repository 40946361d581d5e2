"""A small disk of its own for the objects' files, so that it can really be full: an ext4 image, where mounting is allowed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE_BYTES = 256 * 1024 * 1024
_BALLAST = "ballast"
_STEP = 1 << 20


class SmallDisk:
    """A mounted disk that can be filled to its last byte, and freed again."""

    def __init__(self, mounted_at: Path) -> None:
        self._ballast = mounted_at / _BALLAST

    def fill(self) -> None:
        """Leave no room at all."""
        descriptor = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for step in (_STEP, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, step)
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Make room."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(image: Path, mount_at: Path) -> Iterator[SmallDisk | None]:
    """Mount a new disk while the block lasts; None where this process may not, or has not the tools."""
    mount_at.mkdir(mode=0o700, parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    try:
        _run("mkfs.ext4", "-q", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(mount_at))
    except (OSError, subprocess.CalledProcessError):
        image.unlink()
        yield None
        return
    try:
        mount_at.chmod(0o700)
        yield SmallDisk(mount_at)
    finally:
        _run("umount", "--lazy", str(mount_at))
        image.unlink(missing_ok=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
