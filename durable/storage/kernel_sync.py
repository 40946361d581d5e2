"""Syncs that Linux does by itself: no thread has to be woken to ask for them, nor to come back for the interpreter.

Asynchronous I/O (`io_submit`, section 2 of the manual) takes an `fsync` or `fdatasync` and tells of its end by an eventfd, which the loop waits
for like for a socket. Where the system has no such thing, or refuses it, threads wait for the disk instead.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import platform
import sys
from collections.abc import Callable

logger = logging.getLogger(__name__)

MOST = 256  # syncs under way at once; what comes beyond them takes a thread

# What will not change: the kernel, a sandbox or the file system has no such request.
_REFUSALS = (errno.ENOSYS, errno.EPERM, errno.EINVAL)
_FSYNC, _FDATASYNC = 2, 3  # IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC
_TELL_EVENTFD = 1  # IOCB_FLAG_RESFD
# Numbers of io_setup, io_destroy, io_getevents and io_submit; the C library has no functions for them.
_CALLS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2), "riscv64": (0, 1, 4, 2)}


class _Request(ctypes.Structure):
    """`struct iocb` of linux/aio_abi.h, on a little-endian machine."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """`struct io_event`: which request has ended, and its result or, below zero, its error."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class KernelSyncs:
    """What the kernel is asked to sync by one loop, on which all methods are called. Raises OSError where it cannot be asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        calls = _CALLS.get(platform.machine())
        if sys.platform != "linux" or sys.maxsize < 2**32 or calls is None:
            raise OSError(errno.ENOSYS, "this system's asynchronous I/O is not known")
        self._loop = loop
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        setup, *numbers = map(ctypes.c_long, calls)
        self._destroy, self._get_events, self._submit = numbers
        self._context = ctypes.c_ulong()
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if self._call(setup, ctypes.c_long(MOST), ctypes.byref(self._context)) < 0:
            error = _last_error()
            os.close(self._eventfd)
            raise error
        self._request = _Request(flags=_TELL_EVENTFD, eventfd=self._eventfd)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._events = (_Event * MOST)()
        self._now = (ctypes.c_long * 2)(0, 0)
        self._number = 0
        self._waiting: dict[int, Callable[[OSError | None], None]] = {}
        self._is_refused = False
        loop.add_reader(self._eventfd, self._ended)

    def soon(self, what: Callable[[], None]) -> None:
        """Have something done when this turn of the loop ends."""
        self._loop.call_soon(what)

    def fdatasync(self, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
        """Have the kernel sync a file's content, then call `done(error or None)`. False when it takes no request; nothing is done then."""
        return self._ask(_FDATASYNC, descriptor, done)

    def fsync(self, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
        """The same for all that is to be known of a file, or for the names in a directory."""
        return self._ask(_FSYNC, descriptor, done)

    def _ask(self, what: int, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
        if self._is_refused or len(self._waiting) >= MOST:
            return False
        self._number += 1
        self._request.opcode = what
        self._request.data = self._number
        self._request.descriptor = descriptor
        self._waiting[self._number] = done
        if self._call(self._submit, self._context, ctypes.c_long(1), self._requests) == 1:
            return True
        del self._waiting[self._number]
        error = _last_error()
        if error.errno in _REFUSALS:
            self._is_refused = True
            logger.info("syncs wait in threads: %s", error)
        return False

    def _ended(self) -> None:
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            return
        count = self._call(
            self._get_events, self._context, ctypes.c_long(0), ctypes.c_long(MOST), self._events, self._now
        )
        if count < 0:
            raise _last_error()
        for number, result in [(event.data, event.result) for event in self._events[:count]]:
            done = self._waiting.pop(number)
            try:
                done(None if result >= 0 else OSError(-result, os.strerror(-result)))
            except Exception as error:  # noqa: BLE001 - the others have to be told all the same
                self._loop.call_exception_handler({"message": "told of a sync", "exception": error})

    def close(self) -> None:
        """Wait until the kernel is done, and let go of it; who still waits is not told."""
        self._loop.remove_reader(self._eventfd)
        self._is_refused = True
        self._waiting.clear()
        self._call(self._destroy, self._context)
        os.close(self._eventfd)


def kernel_syncs(loop: asyncio.AbstractEventLoop) -> KernelSyncs | None:
    """The kernel's syncs for this loop, or None where it has none to offer."""
    try:
        return KernelSyncs(loop)
    except OSError as error:
        logger.info("syncs wait in threads: %s", error)
        return None


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
