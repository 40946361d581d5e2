"""Figures: what was measured in each round, whether it was right, and how they are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity, measured once or in several rounds.

    Args:
        name: what it is.
        unit: "ms", "per second", "KiB", …
        rounds: the measured values.
        aim: what the median should not exceed, if the project aims at something.
        right: whether everything that was measured did what it should.
    """

    name: str
    unit: str
    rounds: tuple[float, ...]
    aim: float | None = None
    right: bool = True

    @property
    def median(self) -> float:
        """The value to quote."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest round."""
        return min(self.rounds), max(self.rounds)

    def line(self) -> str:
        """A row of the table."""
        low, high = (_short(value) for value in self.spread)
        several = f"{low} to {high}" if len(self.rounds) > 1 else ""
        aim = (
            "" if self.aim is None else f"{_short(self.aim)} {'met' if self.median <= self.aim else 'MISSED'}"
        )
        return (
            f"{self.name:62} {_short(self.median):>9} {self.unit:10} {several:18} {aim:12}"
            f"{'' if self.right else ' WRONG'}"
        ).rstrip()

    def as_json(self) -> dict[str, Any]:
        """The figure as it is kept."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": round(self.median, 4),
            "rounds": [round(value, 4) for value in self.rounds],
            "aim": self.aim,
            "right": self.right,
        }


HEADING = f"{'':62} {'median':>9} {'unit':10} {'lowest to highest':18} aim"


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of them stay within."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "build": [*platform.python_build(), platform.python_compiler()],
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
    }


def keep(results: Path, suite: str, content: dict[str, Any]) -> Path:
    """Write a suite's figures with what they were measured on; where."""
    results.mkdir(exist_ok=True)
    path = results / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine(), **content}, indent=2) + "\n")
    return path


def tell(what: str) -> None:
    """Say what is going on, beside the table."""
    print(f"  … {what}", file=sys.stderr, flush=True)


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
