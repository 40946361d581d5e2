"""What a process of the service may use of its machine: many descriptors, but not all memory.

A worker that asks for more memory than it may have gets a MemoryError where it asks, and where the machine itself runs
out, the kernel ends a worker, never the supervisor, a gateway or Redis.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import sys
from pathlib import Path

from durable.runtime.memory import allocated

logger = logging.getLogger(__name__)

WANTED_DESCRIPTORS = 1 << 20  # where the system sets no limit at all
OOM_SCORE = "500"  # of 1,000: before everything that has none


def raise_descriptor_limit() -> None:
    """Allow as many open descriptors as the system lets us; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else WANTED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError) as error:
            logger.warning("the limit of %d open descriptors cannot be raised: %s", soft, error)


def limit_memory(beyond: int) -> None:
    """Let this process ask for `beyond` bytes more than it has now, and be the first to go when the machine is out."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = allocated() + beyond
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
