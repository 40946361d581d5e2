"""Starts a program that cannot outlive whoever started it, run as ``python -I -S guard.py PARENT FD PROGRAM ARGS...``.

For programs that cannot watch a pipe themselves, such as Valkey. The process turns into the program, so its id stays.

- On Linux the kernel sends SIGTERM when the parent's *thread* that started it ends: start it from the main thread.
- Elsewhere a forked watcher holds FD, the reading end of a pipe whose writing end only the parent has.

This file is run by path, without the project on its import path, and so imports nothing of it.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program."""
    parent, descriptor, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    elif os.fork() == 0:
        watch(os.getppid(), descriptor)
    os.close(descriptor)
    if os.getppid() != parent:  # it died before the tie held
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - a shell would be one more process to lose


def watch(target: int, descriptor: int) -> None:
    """Send SIGTERM to ``target``, this process's parent, when the pipe closes; end when ``target`` does."""
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, min(limit, 65536))
    while os.getppid() == target:
        readable, _, _ = select.select([descriptor], [], [], 0.5)
        if readable and not os.read(descriptor, 1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, signal.SIGTERM)
            break
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
