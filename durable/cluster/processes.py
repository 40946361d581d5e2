"""Which process is meant: a process id together with its start time, since ids are used again.

The start time is the kernel's (clock ticks since boot, field 22 of ``/proc/PID/stat``); where there is no ``/proc``,
the seconds since the epoch that ``ps`` reports.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process that lived at one time: never equal to a later process with the same id."""

    pid: int
    started: int


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of the process that has ``pid`` now; None when there is none, or only a zombie."""
    found = _state_and_start(pid)
    if found is None or found[0] in "ZX":
        return None
    return ProcessIdentity(pid, found[1])


def identify_self() -> ProcessIdentity:
    """The identity of the calling process."""
    found = identify(os.getpid())
    if found is None:
        raise RuntimeError("the running process is not listed by the system")
    return found


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    return identify(identity.pid) == identity


def is_stopped(identity: ProcessIdentity) -> bool:
    """Whether this process exists but was halted (SIGSTOP, a debugger), so that it cannot act by itself."""
    found = _state_and_start(identity.pid)
    return found is not None and found[1] == identity.started and found[0] in "Tt"


def send_signal(identity: ProcessIdentity, number: int) -> bool:
    """Send a signal to exactly this process; False when it is gone.

    Where the kernel has process descriptors the check and the signal cannot be separated by a reused id.
    """
    if not hasattr(os, "pidfd_open"):
        if not is_alive(identity):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)
            return True
        return False
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError:
        return False
    try:
        # The descriptor pins the process: if it is the one meant now, it stays so until the descriptor closes.
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def end_process(identity: ProcessIdentity, *, patience: float) -> bool:
    """Ask a process that is not our child to end, kill it after ``patience`` seconds; True when it is gone."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        if seconds > 0 and not send_signal(identity, number):
            return True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not is_alive(identity):
                return True
            time.sleep(0.01)
    return not is_alive(identity)


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """The one-letter state and the start time of a process."""
    return _from_proc(pid) if _LINUX else _from_ps(pid)


def _from_proc(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _from_ps(pid: int) -> tuple[str, int] | None:
    command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    answer = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    state, _, started = answer.stdout.strip().partition(" ")
    if not state:
        return None
    return state[0], int(time.mktime(time.strptime(started.strip(), "%a %b %d %H:%M:%S %Y")))
