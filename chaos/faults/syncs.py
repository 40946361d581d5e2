"""The disk is slow to make things durable, refuses to, or the process dies around it: before what was committed is told."""

from __future__ import annotations

from typing import ClassVar

from chaos.probe.inside import Order, SyncFault
from chaos.service import until
from durable.cluster.processes import ProcessIdentity, is_alive

from .fault import Fault

SLOW_SECONDS = 2.0
DIES_WITHIN = 5.0


class _Sync(Fault):
    """Something happens when one worker waits for the disk."""

    what: ClassVar[SyncFault] = ""
    victim: ProcessIdentity

    async def inject(self) -> None:
        """Tell the owner of a busy object."""
        self.victim = await self.site.busy_worker(self.chance)
        self.site.order(Order(pids=(self.victim.pid,), sync=self.what, seconds=SLOW_SECONDS))

    async def heal(self) -> None:
        """Let the disk be a disk again."""
        self.site.order()


class SlowSync(_Sync):
    """A disk that is busy."""

    name, about, what = "slow-sync", "fsync takes 2 s", "slow"
    hold, cost = 3.0, 6.0
    fails_nothing = keeps_sockets = True


class FailingSync(_Sync):
    """A disk that is broken: what was not durable yet is unknown, and the callers are told so."""

    name, about, what = "failing-sync", "fsync fails", "fail"
    hold, cost = 1.0, 4.0
    keeps_sockets = True


class _Dying(_Sync):
    """The process dies between a commit and the sending of its answers and broadcasts."""

    fails_nothing = keeps_sockets = True
    cost = 4.0

    async def heal(self) -> None:
        """It has died; the next one does not."""
        await until(lambda: not is_alive(self.victim), DIES_WITHIN, "a worker dies at its next sync")
        self.site.order()
        await self.site.service.replaced(self.victim, "worker")


class DieBeforeSync(_Dying):
    """Committed, and not yet durable."""

    name, about, what = "die-before-sync", "kill -9 of a worker between a commit and its fsync", "die before"


class DieAfterSync(_Dying):
    """Durable, and nobody has heard of it."""

    name, about, what = (
        "die-after-sync",
        "kill -9 of a worker between an fsync and its broadcast",
        "die after",
    )


SYNC_FAULTS: tuple[type[Fault], ...] = (SlowSync, FailingSync, DieBeforeSync, DieAfterSync)
