"""Faults that only a process can do to itself: syncs that are slow, fail or kill, links cut in a message, clocks that jump.

The instrument writes orders into a file; each process looks whether the file has changed before it does one of these things. The
seams are the standard library's `os.fdatasync`, `os.fsync` and `time`, the kernel's syncs, which refuse while such an order is given, and
the class of the link: production code knows nothing of it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec

from durable.cluster import endpoint, router
from durable.cluster.link import Link
from durable.storage.kernel_sync import KernelSyncs

ORDERS_NAME = "orders.json"
"""Where the instrument writes its orders, in the data directory."""

SyncFault = Literal["", "slow", "fail", "die before", "die after"]
LinkFault = Literal["", "cut", "stall"]


class Order(msgspec.Struct, frozen=True):
    """What the processes `pids` should do; an empty list means none.

    `serial` tells one order from the next: what happens once happens once an order. `seconds` is how long a slow sync or a
    stalled message takes; `clock` is added to the wall clock of every process, in seconds.
    """

    serial: int = 0
    pids: tuple[int, ...] = ()
    sync: SyncFault = ""
    link: LinkFault = ""
    seconds: float = 0.0
    clock: float = 0.0


class Orders:
    """The file with the order of the moment; read again only when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = 0
        self._order = Order()

    def give(self, order: Order) -> None:
        """Replace the order, in one step."""
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(order))
        draft.replace(self._path)

    def current(self) -> Order:
        """The order of the moment."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return self._order
        if stamp != self._stamp:
            with suppress(OSError):
                self._order = msgspec.json.decode(self._path.read_bytes(), type=Order)
                self._stamp = stamp
        return self._order

    def mine(self) -> Order | None:
        """The order of the moment, if it is for this process."""
        order = self.current()
        return order if os.getpid() in order.pids else None


class Inside:
    """Carries the orders out in this process."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._link_serial = 0

    def install(self) -> None:
        """Stand before the system calls, the clock and the links of this process."""
        _replace(os, "fdatasync", self._before_sync(os.fdatasync))
        _replace(os, "fsync", self._before_sync(os.fsync))
        KernelSyncs.fdatasync = self._before_asking(KernelSyncs.fdatasync)  # type: ignore[method-assign]
        KernelSyncs.fsync = self._before_asking(KernelSyncs.fsync)  # type: ignore[method-assign]
        real_time, real_time_ns = time.time, time.time_ns
        _replace(time, "time", lambda: real_time() + self._orders.current().clock)
        _replace(time, "time_ns", lambda: real_time_ns() + int(self._orders.current().clock * 1e9))
        for module in (router, endpoint):
            _replace(module, "Link", self._faulty_link())

    def _before_sync(self, real: Callable[[Any], None]) -> Callable[[Any], None]:
        def sync(descriptor: Any) -> None:
            order = self._orders.mine()
            if order is None or not order.sync:
                real(descriptor)
                return
            match order.sync:
                case "slow":
                    time.sleep(order.seconds)
                    real(descriptor)
                case "fail":
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                case "die before":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "die after":
                    real(descriptor)
                    os.kill(os.getpid(), signal.SIGKILL)

        return sync

    def _before_asking(self, real: Callable[..., bool]) -> Callable[..., bool]:
        """The kernel refuses what is ordered to go wrong, so that a thread does it, by Python's function."""

        def ask(syncs: KernelSyncs, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
            order = self._orders.mine()
            return (order is None or not order.sync) and real(syncs, descriptor, done)

        return ask

    def _link_fault(self) -> Order | None:
        """The order to break a link, once."""
        order = self._orders.mine()
        if order is None or not order.link or order.serial == self._link_serial:
            return None
        self._link_serial = order.serial
        return order

    def _faulty_link(self) -> type[Link]:
        link_fault = self._link_fault

        class FaultyLink(Link):
            """A link that can end, or stand still, in the middle of a message."""

            _late = b""
            _stalled = False

            def data_received(self, data: bytes) -> None:
                """Hand over what has come, or half of it."""
                if self._stalled:
                    self._late += data
                    return
                order = link_fault() if self.peer is not None else None
                if order is None:
                    super().data_received(data)
                    return
                half = max(1, len(data) // 2)
                super().data_received(data[:half])
                if order.link == "cut" and self._transport is not None:
                    self._transport.abort()
                elif order.link == "stall":
                    self._stalled, self._late = True, data[half:]
                    asyncio.get_running_loop().call_later(order.seconds, self._go_on)

            def _go_on(self) -> None:
                self._stalled, late = False, self._late
                if self._transport is not None:
                    super().data_received(late)

        return FaultyLink


def _replace(module: ModuleType, name: str, value: Any) -> None:
    """Let everybody who asks the module for that name find `value`."""
    vars(module)[name] = value
