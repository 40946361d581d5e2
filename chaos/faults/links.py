"""The link between a gateway and a worker ends, or stands still, in the middle of a message."""

from __future__ import annotations

from typing import ClassVar

from chaos.probe.inside import LinkFault, Order

from .fault import Fault


class _Link(Fault):
    """One side, by chance, takes half of what it receives."""

    keeps_sockets = True
    hold = 1.0
    what: ClassVar[LinkFault] = ""
    seconds: ClassVar[float] = 0.0

    async def inject(self) -> None:
        """Tell one process; the next message that reaches it is hit."""
        service = self.site.service
        gateway = service.any_of("gateway", self.chance)
        side = gateway if self.chance.random() < 0.5 else await self.site.busy_worker(self.chance)
        self.site.order(Order(pids=(side.pid,), link=self.what, seconds=self.seconds))

    async def heal(self) -> None:
        """It has happened."""
        self.site.order()


class CutLink(_Link):
    """The connection ends."""

    name, about = "cut-link", "the link between gateway and worker cut in the middle of a frame"
    what = "cut"
    fails_nothing = True


class StallLink(_Link):
    """The rest of the message comes late."""

    name, about = "stall-link", "the link between gateway and worker stalled for 2 s in the middle of a frame"
    what, seconds, hold, cost = "stall", 2.0, 2.2, 4.0
    fails_nothing = True


LINK_FAULTS: tuple[type[Fault], ...] = (CutLink, StallLink)
