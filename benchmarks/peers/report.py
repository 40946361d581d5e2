"""`python -m benchmarks.peers.report FILE…`: the table and the plot of docs/performance.md, from kept results."""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .contests import HEADING, rows

PLOT = Path(__file__).resolve().parents[2] / "docs" / "images" / "peers.svg"
_LESS_IS_BETTER = ("s", "ms", "µs", "KiB", "descriptors")
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 900, 380, 70, 22, 56
_DECADES = (-2, 2)  # of the ratios that fit on the axis


def main() -> int:
    """Print a table for each peer, and write the plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.report", description="Tables on the output, and the plot as SVG."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="kept by `make bench-peers`")
    parser.add_argument("--plot", type=Path, default=PLOT, help="where the plot goes (default: %(default)s)")
    options = parser.parse_args()
    contests = [contest for path in options.files for contest in json.loads(path.read_text())["contests"]]
    print(tables(contests))
    options.plot.write_text(plot(bars(contests)))
    return 0


def tables(contests: Sequence[Mapping[str, Any]]) -> str:
    """A table for each peer."""
    peers = dict.fromkeys(contest["peer"] for contest in contests)
    return "\n\n".join(
        f"Beside {peer}:\n\n"
        + "\n".join([HEADING, *(row for one in contests if one["peer"] == peer for row in rows(one))])
        for peer in peers
    )


def bars(contests: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, float | None]]:
    """(label, how many times better ours is, how many times it should be) of each contest's first quantity and each with an aim."""
    found = []
    for contest in contests:
        for index, quantity in enumerate(contest["quantities"]):
            if index == 0 or quantity["aim_ratio"] is not None:
                name = quantity["name"]
                label = f"{contest['peer']}: {contest['workload']}: {name}"
                aim = quantity["aim_ratio"]
                found.append((label, _better(name, quantity["ratio"]), aim and _better(name, aim)))
    return found


def _better(quantity: str, ratio: float) -> float:
    """The ratio, turned round where little is better than much."""
    less = any(word in quantity.split() for word in _LESS_IS_BETTER)
    return 1 / ratio if less and ratio else ratio


def plot(shown: Sequence[tuple[str, float, float | None]]) -> str:
    """The bars on a logarithmic axis, to the right of 1 where ours did better, with a mark for the aim."""
    height = _TOP + _ROW * len(shown) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="12" y="20" font-size="14">How many times better ours did than the peer; the line is the aim</text>',
    ]
    for tick in (0.01, 0.1, 1, 10, 100):
        x = _x(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{height - 12}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 14}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for index, (label, better, aim) in enumerate(shown):
        y = _TOP + _ROW * index
        left, right = sorted((_x(1), _x(better)))
        colour = "#2a7" if better >= (aim or 1) else "#c84"
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{html.escape(label)}</text>')
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 3}" width="{max(1.0, right - left):.1f}" height="{_ROW - 8}" fill="{colour}"/>'
        )
        if aim:
            x = _x(aim)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + _ROW - 2}" stroke="#000" stroke-width="2"/>'
            )
        parts.append(f'<text x="{_WIDTH - 8}" y="{y + 13}" text-anchor="end">{better:.2g} x</text>')
    return "\n".join([*parts, "</svg>", ""])


def _x(ratio: float) -> float:
    low, high = _DECADES
    decades = min(high, max(low, math.log10(ratio) if ratio > 0 else low))
    return _LEFT + (decades - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


if __name__ == "__main__":
    sys.exit(main())
