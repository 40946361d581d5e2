"""Watches the loop from a thread of its own: names a handler that blocks it or takes all memory, interrupts it, at last ends it all.

While a handler computes without waiting, no other object of this worker runs, and the session is not renewed. So:

- after `notice` seconds the handler is named in the log, with its stack;
- after `limit` seconds it is interrupted by a signal (see `durable.runtime.steps` for where that may hit). A signal
  also ends blocking calls such as `time.sleep`; the event fails with EventTimeoutError and leaves no trace;
- after `grace` seconds more the process ends; its objects go to other workers.

A handler in whose step the process grows beyond its memory limit is named and interrupted at once, and fails with
MemoryLimitError; when it cannot be, the process ends after `grace` seconds. One allocation that is larger than all of
that fails by itself (`durable.service.limits.limit_memory`).

Time is counted in looks: a look that came late counts as one, so neither a stopped process (SIGSTOP), nor a long
collection of garbage, nor a starved machine is held against a handler. Waiting for the disk happens in other threads.
Code in C that keeps the interpreter to itself stops this thread too. Then a timer of the process's own processor time ends, and
its signal has `faulthandler`, which needs no interpreter, write the stack of the thread that runs to stderr; the supervisor ends the
process when its session has expired. (A timer by the clock would go off when a stopped process is continued, and the stacks of threads
that run meanwhile cannot be read safely.)

Signals reach the main thread only: `runserver`, whose worker is a thread beside a web server, is not watched.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from . import memory
from .events import Event
from .steps import Charge, Steps, in_own_task

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
INSIST_SECONDS = 0.005  # between two signals to a handler that has to be caught outside the runtime's code
BEAT_SECONDS = 0.25
FAULT_SECONDS = (
    2.0  # of processor time in which the interpreter is not to be had: the stack is written without it
)
GROWTH_SHARE = 64  # a step is charged with memory when it took this part of the limit
MIB = 1024 * 1024
SIGNAL = signal.SIGUSR1
FAULT_SIGNAL, FAULT_TIMER = signal.SIGPROF, signal.ITIMER_PROF
EXIT_STATUS = 70
LAST_WORDS_SECONDS = 1.0


class Watchdog:
    """Watches the loop that runs on the main thread.

    Args:
        steps: what runs there.
        notice: seconds after which a handler is named.
        limit: seconds after which it is interrupted.
        grace: seconds after the limit after which the process ends.
        resident: tells how much memory the process has.
        end: ends the process.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        notice: float,
        limit: float,
        grace: float,
        resident: Callable[[], int] = memory.resident,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._steps = steps
        self._notice = notice
        self._limit = limit
        self._grace = grace
        self._resident = resident
        self._end = end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="durable-watchdog", daemon=True)
        self._watched = threading.main_thread().ident or 0
        self._beats = 0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._seen = (-1, -1)  # step and beat at the last look
        self._blocked = 0.0
        self._named = False
        self._event = 0  # which one runs
        self._size = self._size_before = (
            resident()
        )  # memory at the last look, and at the last one before this event
        self._greedy = 0.0  # for so long this step has had too much of it
        self._wanted = -1
        self._armed_at = 0.0
        self._tells_faults = False

    def start(self) -> None:
        """Begin. Must be called on the main thread, inside its loop."""
        self._beat(asyncio.get_running_loop())
        signal.signal(SIGNAL, self._on_signal)
        with suppress(ValueError, AttributeError, OSError, RuntimeError):  # a stderr that is no file
            faulthandler.register(FAULT_SIGNAL, all_threads=False)
            self._tells_faults = True
        self._thread.start()

    def stop(self) -> None:
        """End. Late signals do nothing."""
        self._over.set()
        self._thread.join()
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        if self._tells_faults:
            signal.setitimer(FAULT_TIMER, 0.0)
            faulthandler.unregister(FAULT_SIGNAL)
            self._tells_faults = False

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beats += 1
        self._beat_timer = loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        self._steps.interrupt(self._wanted, frame)

    # -- in the thread

    def _watch(self) -> None:
        pause, last = LOOK_SECONDS, time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            pause = self._look(min(now - last, 2 * pause))
            last = now
            self._arm(now)

    def _arm(self, now: float) -> None:
        if self._tells_faults and now - self._armed_at > FAULT_SECONDS / 4:
            self._armed_at = now
            signal.setitimer(FAULT_TIMER, self._notice + FAULT_SECONDS)

    def _look(self, passed: float) -> float:
        """Judge what runs; how long until the next look."""
        steps = self._steps
        running, step = steps.running, steps.number
        seen = (step, -1) if running is not None else (step, self._beats)
        if seen != self._seen:
            self._begin(seen)
        else:
            self._blocked += passed
        greedy = self._is_greedy(running[1] if running is not None else None)
        self._greedy += passed if greedy else 0.0
        what = "a task" if running is None else f"{running[0]}: {running[1].label}"
        if self._blocked >= self._notice + (BEAT_SECONDS if running is None else 0.0) and not self._named:
            self._named = True
            log.error("%s blocks the loop for %.1f s now:\n%s", what, self._blocked, self._stack())
        if self._blocked < self._limit and not greedy:
            return LOOK_SECONDS
        if running is None and not in_own_task(sys._current_frames().get(self._watched)):
            return LOOK_SECONDS  # the runtime's own doing: there is nothing to interrupt
        if self._blocked >= self._limit + self._grace or self._greedy >= self._grace:
            self._give_up(what)
        if steps.interrupted == step and self._wanted == step:
            return self._insist_later()
        if self._wanted != step:
            self._accuse(what, running[1] if running is not None else None, greedy=greedy)
        self._wanted = step
        signal.pthread_kill(self._watched, SIGNAL)
        return INSIST_SECONDS

    def _begin(self, seen: tuple[int, int]) -> None:
        """Another step runs, or the loop has had its turn."""
        if self._named:
            log.warning("the loop goes on after it was blocked for %.1f s", self._blocked)
        self._seen, self._blocked, self._named = seen, 0.0, False
        self._greedy = 0.0

    def _is_greedy(self, event: Event | None) -> bool:
        """Whether the process has too much memory and this event, of which this may be one of many steps, is why."""
        if event is not None and id(event) != self._event:
            self._event, self._size_before = id(event), self._size
        self._size = self._resident()
        grown = self._size - self._size_before
        limit = self._steps.memory_limit
        return self._size > limit and grown > limit / GROWTH_SHARE

    def _accuse(self, what: str, event: Event | None, *, greedy: bool) -> None:
        if greedy:
            stack = self._stack()
            self._steps.charge = Charge.GREEDY
            self._steps.condemned = event  # its steps may be too short to be hit
            size, grown = self._size // MIB, (self._size - self._size_before) // MIB
            text = "%s is interrupted: the process has %d MiB of memory, %d more than before:\n%s"
            log.error(text, what, size, grown, stack)
        else:
            self._steps.charge = Charge.BLOCKED
            log.error("%s is interrupted: it has blocked the loop for %.1f s", what, self._blocked)

    def _insist_later(self) -> float:
        """It was interrupted, but has caught that and goes on: once more, less often."""
        signal.pthread_kill(self._watched, SIGNAL)
        return LOOK_SECONDS

    def _give_up(self, what: str) -> None:
        text = "%s cannot be interrupted: this process ends, and its objects go to other workers:\n%s"
        words = threading.Thread(target=log.critical, args=(text, what, self._stack()), daemon=True)
        words.start()  # in a thread: who blocks the loop may hold the log's lock
        words.join(LAST_WORDS_SECONDS)
        self._end(EXIT_STATUS)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)"
