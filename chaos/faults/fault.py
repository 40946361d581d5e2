"""What a fault is: something that is injected, lasts, and is healed; and what must hold meanwhile."""

from __future__ import annotations

import random
from typing import ClassVar

from chaos.clients import Client
from chaos.history import History
from chaos.probe.inside import Order, Orders
from chaos.service import Service
from chaos.volume import SmallDisk
from chaos.workloads.counters import KEYED, PLAIN
from chaos.workloads.workload import Stage
from durable.cluster.processes import ProcessIdentity, identify

BUSY = (*PLAIN, *KEYED)
"""Counters that are asked all the time."""


class Site:
    """Where faults strike.

    Attributes:
        disk: the disk of the objects' files, where the run could make one of its own.
        crowd: how many clients a crowd has.
    """

    def __init__(
        self, stage: Stage, orders: Orders, rooms: list[str], disk: SmallDisk | None, *, crowd: int
    ) -> None:
        self.stage = stage
        self.disk = disk
        self.crowd = crowd
        self._rooms = rooms
        self._orders = orders
        self._serial = 0

    @property
    def service(self) -> Service:
        """The service under test."""
        return self.stage.service

    @property
    def history(self) -> History:
        """What clients saw."""
        return self.stage.history

    @property
    def busy_room(self) -> str:
        """A room in which people speak all the time."""
        return self._rooms[0]

    def client(self) -> Client:
        """An HTTP client of the fault's own; what it sees is not part of the history."""
        return self.stage.client()

    async def busy_worker(self, chance: random.Random) -> ProcessIdentity:
        """A worker that owns a busy object, so that somebody notices what is done to it."""
        client = self.client()
        shown = await client.surely("GET", f"objects/Counter/{chance.choice(BUSY)}")
        await client.close()
        found = identify(shown["owner"]["pid"]) if shown["owner"] else None
        # A Redis that came back old may know a dead owner for a while, although the object is served.
        return found or self.service.any_of("worker", chance)

    def order(self, order: Order | None = None) -> None:
        """Tell processes what to do to themselves; None ends it."""
        self._serial += 1
        given = order or Order()
        self._orders.give(Order(self._serial, given.pids, given.sync, given.link, given.seconds, given.clock))


class Fault:
    """One kind of fault; an instance is one time it happens.

    Attributes:
        name: as in FAULTS=.
        about: one line for --help and the report.
        hold: seconds between injecting and healing.
        cost: seconds that all of it is meant to take, recovery included.
        fails_nothing: no request may fail visibly meanwhile.
        keeps_sockets: no socket may be dropped meanwhile.
        pause_within: seconds that an object may stand still at most, in 99 of 100 cases.
        figures: what was measured, by name.
        broken: what must hold and did not, in words.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    hold: ClassVar[float] = 0.0
    cost: ClassVar[float] = 3.0
    fails_nothing: ClassVar[bool] = False
    keeps_sockets: ClassVar[bool] = False
    pause_within: ClassVar[float | None] = None

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.figures: dict[str, float] = {}
        self.broken: list[str] = []

    async def inject(self) -> None:
        """Let it happen."""
        raise NotImplementedError

    async def heal(self) -> None:
        """Undo what does not undo itself, and wait for what the service repairs by itself."""
