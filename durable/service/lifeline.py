"""A child's tie to its supervisor: one pipe tells that the supervisor is gone, another says that the child is ready."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Mapping

import msgspec

from durable.core.envelope import LINK_VERSION

LIFE_VARIABLE = "DURABLE_LIFE_FD"
REPORT_VARIABLE = "DURABLE_REPORT_FD"
GO_VARIABLE = "DURABLE_GO_FD"
PLACE_VARIABLE = "DURABLE_PLACE"
OUTPUTS_VARIABLE = "DURABLE_OUTPUT_FDS"

#: Seconds a child may use for a clean end after its supervisor died, before it is ended the hard way.
ORPHAN_GRACE = 3.0
_LONGEST_PLACE = 256


class ReadyReport(msgspec.Struct, frozen=True):
    """One line from child to supervisor: it serves now, and (a worker) under this session id."""

    worker: str | None = None
    link: int = LINK_VERSION
    """The version of the link that it speaks."""
    classes: dict[str, int] = {}
    """Of a worker: the object classes it has code for, and how many migrations each has."""


class Lifeline:
    """The child's ends of both pipes; a process started by hand has neither, and then nothing here does anything.

    Attributes:
        place: which of its supervisor's workers this process is; a spare learns it when it is told to go.
    """

    def __init__(
        self,
        life: int | None = None,
        report: int | None = None,
        go: int | None = None,
        *,
        place: str = "",
        outputs: tuple[int, ...] = (),
    ) -> None:
        self.place = place
        self._life = life
        self._report = report
        self._go = go
        self._outputs = outputs

    @classmethod
    def inherit(cls) -> Lifeline:
        """Take over the pipes named in the environment, and unname them so that no grandchild believes them its own."""
        named = [os.environ.pop(name, "") for name in (LIFE_VARIABLE, REPORT_VARIABLE, GO_VARIABLE)]
        descriptors = [int(text) if text else None for text in named]
        for descriptor in descriptors:
            if descriptor is not None:
                os.set_inheritable(descriptor, False)
        outputs = tuple(int(text) for text in os.environ.pop(OUTPUTS_VARIABLE, "").split())
        for descriptor in outputs:
            os.set_inheritable(descriptor, False)
        return cls(*descriptors, place=os.environ.pop(PLACE_VARIABLE, ""), outputs=outputs)

    def wait_for_go(self) -> bool:
        """Wait until the supervisor needs this process; False when it never will, because it has ended."""
        if self._go is None:
            return False
        ends = [self._go] if self._life is None else [self._go, self._life]
        ready, _, _ = select.select(ends, [], [])
        if self._go not in ready:
            return False
        self.place = os.read(self._go, _LONGEST_PLACE).decode()
        return self.place != ""

    def watch(self, on_orphaned: Callable[[], object], grace: float = ORPHAN_GRACE) -> None:
        """From now on call ``on_orphaned`` (in a thread of its own) when the supervisor dies, and exit after ``grace``."""
        if self._life is not None:
            threading.Thread(
                target=self._wait_for_end, args=(self._life, on_orphaned, grace), name="lifeline", daemon=True
            ).start()

    def report_ready(self, worker: str | None = None, classes: Mapping[str, int] | None = None) -> None:
        """Tell the supervisor that this process serves; a worker calls it again for each new session.

        What a process on trial wrote so far went to the supervisor; from now on it goes where everybody's does.
        """
        if self._outputs:
            sys.stdout.flush()
            sys.stderr.flush()
        for number, descriptor in enumerate(self._outputs, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        self._outputs = ()
        if self._report is not None:
            with contextlib.suppress(OSError):  # a supervisor that died is the other pipe's business
                os.write(
                    self._report,
                    msgspec.json.encode(ReadyReport(worker, classes=dict(classes or {}))) + b"\n",
                )

    @staticmethod
    def _wait_for_end(life: int, on_orphaned: Callable[[], object], grace: float) -> None:
        with contextlib.suppress(OSError):
            while os.read(life, 1):
                pass
        # The clean end runs beside this thread; whatever it is stuck in, the process does not stay.
        timer = threading.Timer(grace, os._exit, args=(1,))
        timer.daemon = True
        timer.start()
        on_orphaned()
