"""Contests: each workload on ours and on a peer in turns, so that both had the same machine, and the ratio of each turn's two results."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import sides
from .sides import Side
from .workloads import BETWEEN, BUSY, CHAT, COUNTERS, CROWD, LIMITER, LIVES, STRANGERS, Outcome, Workload


@dataclass(frozen=True)
class Aim:
    """What the ratio of ours to the peer's should be.

    Args:
        ratio: the bound.
        least: whether it is the lower bound, as of what should be much; else the upper one.
    """

    ratio: float
    least: bool = True

    def met(self, ratio: float) -> bool:
        """Whether a ratio keeps to it."""
        return ratio >= self.ratio if self.least else ratio <= self.ratio

    def __str__(self) -> str:
        """As the table shows it."""
        return f"{'≥' if self.least else '≤'} {self.ratio:.3g}"


@dataclass(frozen=True)
class Peer:
    """What a user would pick instead.

    Args:
        about: what it is, for the report.
        start: runs it. Raises PeerMissingError.
        workloads: what both are asked.
        aims: by workload and quantity.
    """

    about: str
    start: Callable[[], AbstractContextManager[Side]]
    workloads: Sequence[Workload]
    aims: Mapping[tuple[str, str], Aim] = field(default_factory=dict)


PEERS = {
    "workerd": Peer(
        "workerd, SQLite-backed classes on the local disk",
        sides.workerd,
        (*COUNTERS, *BETWEEN, *STRANGERS, *LIMITER, *CHAT, *CROWD, *LIVES),
        {
            ("hot counter, 64 conn.", "per second"): Aim(6),
            ("hot counter, 64 conn.", "p99 ms"): Aim(1 / 3, least=False),
            ("hot counter, 1 conn.", "per second"): Aim(1.5),
            ("1,000 counters, 64 conn.", "per second"): Aim(6),
            ("counter read, 64 conn.", "per second"): Aim(1.5),
            ("limiter, one key, 64 conn.", "per second"): Aim(2),
            ("limiter, 10,000 keys, 64 conn.", "per second"): Aim(2),
            ("limiter, refused, 64 conn.", "per second"): Aim(2.5),
            ("chat, 1 x 50", "deliveries a second"): Aim(3),
            ("chat, 20 x 10", "deliveries a second"): Aim(8),
            ("300 objects", "new a second"): Aim(5),
            ("300 objects", "woken, p50 ms"): Aim(1, least=False),
            ("300 objects", "KiB per active object"): Aim(0.5, least=False),
            ("1,000 idle sockets", "KiB per idle socket"): Aim(0.2, least=False),
        },
    ),
    "channels": Peer(
        "the chat of Channels' tutorial on Daphne with channels-redis, which keeps nothing",
        sides.channels,
        CHAT,
        {(workload.name, "deliveries a second"): Aim(25) for workload in CHAT},
    ),
    "ws": Peer(
        "a room of Node's ws, which keeps nothing",
        sides.ws,
        CHAT,
        {(workload.name, "deliveries a second"): Aim(1) for workload in CHAT},
    ),
    "redis": Peer("Redis itself, synced before each answer, asked without HTTP", sides.redis, COUNTERS),
    "django": Peer(
        "a Django view counting in SQLite, synced at each commit, on uvicorn", sides.django, COUNTERS
    ),
    "postgresql": Peer("the same Django view counting in PostgreSQL", sides.django_postgresql, COUNTERS),
}


@dataclass(frozen=True)
class Contest:
    """One workload's turns: `(ours, theirs)` each."""

    peer: str
    workload: str
    turns: tuple[tuple[Outcome, Outcome], ...]
    loads: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """As it is kept: every turn, and of each quantity the medians and the ratio."""
        return {
            "peer": self.peer,
            "workload": self.workload,
            "loads": [round(load, 2) for load in self.loads],
            "turns": [{"ours": _kept(ours), "theirs": _kept(theirs)} for ours, theirs in self.turns],
            "quantities": self._quantities(),
        }

    def _quantities(self) -> list[dict[str, Any]]:
        """Of the turns in which both sides gave figures."""
        whole = [(ours.values, theirs.values) for ours, theirs in self.turns if ours.values and theirs.values]
        names = whole[0][0] if whole else ()
        return [
            self._quantity(name, [(ours[name], theirs[name]) for ours, theirs in whole]) for name in names
        ]

    def _quantity(self, name: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
        ratio = statistics.median(mine / theirs if theirs else float("inf") for mine, theirs in pairs)
        aim = PEERS[self.peer].aims.get((self.workload, name))
        return {
            "name": name,
            "ours": statistics.median(mine for mine, _ in pairs),
            "theirs": statistics.median(theirs for _, theirs in pairs),
            "ratio": ratio,
            "aim": None if aim is None else str(aim),
            "aim_ratio": None if aim is None else aim.ratio,
            "met": None if aim is None else aim.met(ratio),
        }


def hold(name: str, ours: Side, theirs: Side, workload: Workload, rounds: int, seconds: float) -> Contest:
    """Ask both in turns."""
    turns, loads = [], []
    for _ in range(rounds):
        mine = _asked(workload, sides.ours if workload.fresh else partial(nullcontext, ours), seconds)
        other = _asked(
            workload, PEERS[name].start if workload.fresh else partial(nullcontext, theirs), seconds
        )
        turns.append((mine, other))
        loads.append(os.getloadavg()[0])
    return Contest(name, workload.name, tuple(turns), tuple(loads))


def _asked(workload: Workload, start: Callable[[], AbstractContextManager[Side]], seconds: float) -> Outcome:
    try:
        with start() as side:
            return workload.run(side, seconds)
    except OSError as error:  # TimeoutError and ConnectionError are such: one side's failure must not end the others' contests
        return Outcome({}, 0.0, f"{type(error).__name__}: {error}")


def _kept(outcome: Outcome) -> dict[str, Any]:
    return {
        **{name: round(value, 3) for name, value in outcome.values.items()},
        "generator": round(outcome.generator, 3),
        "generator was the limit": outcome.generator >= BUSY,
        "wrong": outcome.why,
    }


def rows(contest: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the table for one contest as it is kept."""
    wrong = any(turn[side]["wrong"] for turn in contest["turns"] for side in ("ours", "theirs"))
    limits = [
        side
        for side in ("ours", "theirs")
        if any(turn[side]["generator was the limit"] for turn in contest["turns"])
    ]
    notes = (["WRONG"] if wrong else []) + (
        [f"generator was the limit: {', '.join(limits)}"] if limits else []
    )
    load = f"{statistics.median(contest['loads']):.1f}"
    if not contest["quantities"]:
        yield f"| {contest['workload']} | nothing could be measured |  |  |  |  | {load} | WRONG |"
    for quantity in contest["quantities"]:
        aim = "" if quantity["aim"] is None else f"{quantity['aim']} {'met' if quantity['met'] else 'missed'}"
        cells = (
            contest["workload"], quantity["name"], _short(quantity["ours"]), _short(quantity["theirs"]),
            f"{quantity['ratio']:.2f}", aim, load, "; ".join(notes),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


HEADING = "| workload | quantity | ours | theirs | ratio | aim | load | notes |\n|---|---|---:|---:|---:|---|---:|---|"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
