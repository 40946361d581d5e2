"""What a process holds, as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Holding(NamedTuple):
    """Memory that a process has in RAM and shares with nobody, in KiB, and its open descriptors."""

    kib: int
    descriptors: int


def busy_seconds(pid: int) -> float:
    """Processor time that the process has used, all threads together; also on a busy machine it says what work costs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def holding(pid: int) -> Holding:
    """What the process holds now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return Holding(private, len(os.listdir(f"/proc/{pid}/fd")))


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found += map(int, children.read_text().split())
    return found
