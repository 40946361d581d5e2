"""How many gateways and workers suit this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: More processes than this are worth having only when somebody asks for them.
MOST_WORKERS = 16
MOST_GATEWAYS = 8


@dataclass(frozen=True, slots=True)
class ServiceSize:
    """Processes of each role."""

    gateways: int
    workers: int


def choose_size(gateways: int | None, workers: int | None, cpus: int | None = None) -> ServiceSize:
    """The counts asked for, and for what was not: a quarter of the processors for gateways, the others for workers.

    There are at least two workers, so that objects have somewhere to go while one restarts.
    """
    available = cpus if cpus is not None else usable_cpus()
    chosen_gateways = gateways if gateways is not None else min(MOST_GATEWAYS, max(1, available // 4))
    chosen_workers = workers if workers is not None else min(MOST_WORKERS, max(2, available - chosen_gateways))
    return ServiceSize(chosen_gateways, chosen_workers)


def usable_cpus() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
