"""The wall clock, as all processes of the service see it, is stepped by an hour."""

from __future__ import annotations

from typing import ClassVar

from chaos.probe.inside import Order

from .fault import Fault

HOUR = 3600.0


class _Clock(Fault):
    """It jumps, and later jumps back."""

    fails_nothing = keeps_sockets = True
    hold, cost = 2.0, 3.0
    step: ClassVar[float] = 0.0

    async def inject(self) -> None:
        """Step it."""
        self.site.order(Order(clock=self.step))

    async def heal(self) -> None:
        """Set it right."""
        self.site.order()


class ClockForward(_Clock):
    """An hour too late."""

    name, about, step = "clock-forward", "the clock stepped an hour forward, and back again", HOUR


class ClockBack(_Clock):
    """An hour too early."""

    name, about, step = "clock-back", "the clock stepped an hour back, and forward again", -HOUR


CLOCK_FAULTS: tuple[type[Fault], ...] = (ClockForward, ClockBack)
