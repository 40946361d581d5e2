"""What a service that died has left behind on its data directory, ended before the next one starts."""

from __future__ import annotations

from pathlib import Path

from durable.cluster.processes import end_process

from .discovery import read_last_record
from .errors import ServiceError
from .rundir import remove_dead_sockets


def end_leftovers(data_dir: Path, runtime_dir: Path) -> None:
    """Kill the processes of the last service that still run, and remove its sockets.

    Only for whoever holds the `ServiceLock`: then the last service is known to be gone.
    """
    last = read_last_record(data_dir)
    for child in last.children if last is not None else ():
        if not end_process(child.identity, patience=0.0):
            raise ServiceError(f"{child.name} (pid {child.pid}) of an earlier service cannot be ended.")
    remove_dead_sockets(runtime_dir)
