"""What a process holds, as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Holding(NamedTuple):
    """Memory that a process has in RAM and shares with nobody, in KiB, and its open descriptors."""

    kib: int
    descriptors: int


def holding(pid: int) -> Holding:
    """What the process holds now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return Holding(private, len(os.listdir(f"/proc/{pid}/fd")))
