"""How much memory this process has, may have, and can give back: what the system says, in bytes.

Linux only. Elsewhere `resident` is 0, so that no bound on memory is ever reached.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_STATM = "/proc/self/statm"  # pages: total, resident, shared, text, library, data
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUPS = Path("/sys/fs/cgroup")


def resident() -> int:
    """Bytes that this process keeps in memory. Costs some microseconds."""
    return _statm(1)


def allocated() -> int:
    """Bytes that this process has asked for and could write to; what RLIMIT_DATA bounds."""
    return _statm(5)


def _statm(column: int) -> int:
    try:
        with open(_STATM, "rb", buffering=0) as file:  # noqa: PTH123 - read many times a second
            return int(file.read(256).split()[column]) * _PAGE
    except OSError:
        return 0


def machine_bytes() -> int:
    """Memory that this process and its like may have together: the machine's, or what their control group allows."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        groups = ""
    return min([os.sysconf("SC_PHYS_PAGES") * _PAGE, *group_limits(groups, _CGROUPS)])


def group_limits(groups: str, root: Path) -> Iterator[int]:
    """The bounds of control groups, of version 2 or 1, and of those around them.

    Args:
        groups: as /proc/self/cgroup names them.
        root: where they are mounted.
    """
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            yield from _limits_above(root, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_above(root / "memory", path, "memory.limit_in_bytes")


def _limits_above(root: Path, path: str, name: str) -> Iterator[int]:
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # "max", or not mounted here
            yield int((folder / name).read_text())
        if folder == root:
            return


def give_back() -> None:
    """Return what has been freed to the system; waits some milliseconds, without the interpreter."""
    with suppress(AttributeError, OSError):  # a C library that has no such function
        ctypes.CDLL(None).malloc_trim(0)
