"""Which fault strikes when: a pure function of the seed, so that the same seed repeats the same schedule."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

LEAD_SECONDS = 2.0
"""Calm before the first fault, so that every client has begun."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: not before `at` seconds after the load began; `seed` decides what chance decides within it."""

    at: float
    fault: str
    seed: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The faults in their order, how long all of it is meant to take, and what did not fit."""

    steps: tuple[Step, ...]
    seconds: float
    left_out: tuple[str, ...] = ()


def plan(costs: Mapping[str, float], *, seed: int, seconds: float | None = None) -> Schedule:
    """Order the faults by chance.

    Args:
        costs: seconds that each fault is meant to take, recovery included.
        seed: decides everything.
        seconds: the time there is. None: every fault once. Otherwise rounds of all faults, each in an order of its own,
            for as long as something fits.
    """
    chance = random.Random(seed)
    steps: list[Step] = []
    at = LEAD_SECONDS
    while True:
        order = sorted(costs)
        chance.shuffle(order)
        seeds = [chance.getrandbits(32) for _ in order]
        fitted = False
        for fault, fault_seed in zip(order, seeds, strict=True):
            if seconds is not None and at + costs[fault] > seconds:
                continue
            steps.append(Step(round(at, 3), fault, fault_seed))
            at += costs[fault]
            fitted = True
        if seconds is None or not fitted:
            break
    used = {step.fault for step in steps}
    return Schedule(tuple(steps), seconds or at, tuple(fault for fault in sorted(costs) if fault not in used))
