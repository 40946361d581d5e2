"""`python -m benchmarks`: measure the running service, or what the runtime itself costs; print tables and keep the figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import figures
from .counters import Measured, Service, hot_counter, limited, many_counters, reads
from .plan import FULL, QUICK, TINY

SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}
SUITES = ("counters", "runtime")
PARTS = (
    "calls",
    "link",
    "activations",
    "awake",
    "asleep",
    "sockets",
    "rooms",
    "growth",
    "alarms",
    "start",
    "workers",
)


def main() -> int:
    """Run the suites that were asked for; 1 when something was answered wrongly, 2 when there was nothing to measure."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="counters: what the service that runs at URL answers over HTTP (start it with `make run`, or `manage.py serve` with "
        "API_AUTH=open). runtime: what calls, activations, objects, sockets and rooms cost, on services of its own. Figures are kept as JSON under "
        "benchmarks/results/.",
    )
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="SUITE",
        help=f"{', '.join(SUITES)} (default: both), or parts of runtime: {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--size",
        choices=SIZES,
        default="full",
        help="of runtime: full takes about 15 minutes, quick 5, tiny shows that it works (default: %(default)s)",
    )
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="of counters: where the service runs (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="of counters: per workload and round (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="of counters: the median round is shown (default: %(default)s)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=figures.RESULTS,
        help="where the figures are kept (default: %(default)s)",
    )
    options = parser.parse_args()
    unknown = set(options.suites) - {*SUITES, *PARTS}
    if unknown:
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    wanted = options.suites or list(SUITES)
    parts = [part for part in PARTS if part in wanted or "runtime" in wanted]
    statuses = []
    if "counters" in wanted:
        statuses.append(_counters(options))
    if parts:
        statuses.append(_runtime(parts, options))
    return max(statuses)


def _runtime(parts: list[str], options: argparse.Namespace) -> int:
    from .runtime import measure  # loads Django

    print(figures.HEADING, flush=True)
    kept = measure(SIZES[options.size], parts, lambda figure: print(figure.line(), flush=True))
    path = figures.keep(
        options.results, "runtime", {"size": options.size, "figures": [figure.as_json() for figure in kept]}
    )
    print(
        f"\nmedians; everything ran on this machine, which did other things too if its load says so; {path}"
    )
    return 0 if all(figure.right for figure in kept) else 1


def _counters(options: argparse.Namespace) -> int:
    service = Service(options.url, options.seconds)
    try:
        service.value("bench-hot")
    except OSError as error:
        print(f"nothing answers at {options.url}: {error}", file=sys.stderr)
        return 2
    hot_counter(service, 16)  # warm up
    many_counters(service, 16)
    workloads = (
        lambda: hot_counter(service, 1),
        lambda: hot_counter(service, 64),
        lambda: many_counters(service, 64),
        lambda: reads(service, 64),
        lambda: limited(service, 64),
    )
    print(f"{'workload':28} {'conn.':>5} {'per second':>11} {'p50 ms':>8} {'p99 ms':>8}  right")
    kept = []
    for workload in workloads:
        rounds = sorted((workload() for _ in range(options.rounds)), key=lambda one: one.result.per_second)
        _show(rounds[len(rounds) // 2], all(one.right for one in rounds))
        kept.append([one.as_json() for one in rounds])
    path = figures.keep(options.results, "counters", {"seconds": options.seconds, "rounds": kept})
    print(
        f"\nmedian of {options.rounds} rounds of {options.seconds:g} s; the generator ran beside the service; {path}"
    )
    return 0 if all(one["right"] for rounds in kept for one in rounds) else 1


def _show(one: Measured, right: bool) -> None:
    """One line of the table."""
    result = one.result
    print(
        f"{one.name:28} {one.connections:5} {result.per_second:11,.0f} {result.percentile(0.5):8.2f} "
        f"{result.percentile(0.99):8.2f}  {'yes' if right else 'NO'}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
