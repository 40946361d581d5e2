"""`python -m benchmarks`: measure the running service; print a table and keep the figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

from .counters import Measured, Service, hot_counter, limited, many_counters, reads

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run every workload; 1 when one of them was answered wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the service that runs at URL (start it with `make run`, or `manage.py serve` with API_AUTH=open).",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where it runs (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="per workload and round (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="the median round is shown (default: %(default)s)"
    )
    options = parser.parse_args()
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
        show(rounds[len(rounds) // 2], all(one.right for one in rounds))
        kept.append([one.as_json() for one in rounds])
    path = keep(kept, options)
    print(
        f"\nmedian of {options.rounds} rounds of {options.seconds:g} s; the generator ran beside the service; {path}"
    )
    return 0 if all(one["right"] for rounds in kept for one in rounds) else 1


def show(one: Measured, right: bool) -> None:
    """One line of the table."""
    result = one.result
    print(
        f"{one.name:28} {one.connections:5} {result.per_second:11,.0f} {result.percentile(0.5):8.2f} "
        f"{result.percentile(0.99):8.2f}  {'yes' if right else 'NO'}",
        flush=True,
    )


def keep(kept: list[object], options: argparse.Namespace) -> Path:
    """Write the figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"counters-{time.strftime('%Y%m%d-%H%M%S')}.json"
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
    }
    path.write_text(
        json.dumps({"machine": machine, "seconds": options.seconds, "rounds": kept}, indent=2) + "\n"
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
