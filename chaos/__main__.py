"""`python -m chaos`: run the instrument from a shell; exit status 1 when something that was promised did not hold."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from . import report
from .checker import check
from .faults import FAULTS
from .run import Options, run
from .schedule import Schedule, plan
from .service import ServiceFailedError

RESULTS = Path(__file__).resolve().parent / "results"


def arguments() -> argparse.ArgumentParser:
    """What can be asked for."""
    known = "\n".join(f"  {name:<22}{kind.about}" for name, kind in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="chaos",
        description="Run the whole service under load, let faults strike, and check that every promise held.",
        epilog=f"faults:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, help="how long (default: as long as every fault once takes)")
    parser.add_argument(
        "--seed", type=int, default=1, help="decides order and details (default: %(default)s)"
    )
    parser.add_argument("--faults", default="", help="names, separated by commas (default: all)")
    parser.add_argument(
        "--crowd", type=int, default=2000, help="clients that come back at once (default: %(default)s)"
    )
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hurry", action="store_true", help="strike again as soon as the last fault is over")
    parser.add_argument(
        "--keep", action="store_true", help="keep the service's data and log also when all held"
    )
    parser.add_argument("--plan", action="store_true", help="print the schedule and stop")
    return parser


def chosen(text: str) -> dict[str, float]:
    """The costs of the faults named in `text`. Raises SystemExit for a name that is none."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(FAULTS)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise SystemExit(f"no such fault: {', '.join(unknown)}; --help lists them")
    return {name: FAULTS[name].cost for name in names}


def main() -> int:
    """Run once; returns the exit status."""
    asked = arguments().parse_args()
    schedule: Schedule = plan(chosen(asked.faults), seed=asked.seed, seconds=asked.seconds)
    for step in schedule.steps if asked.plan else ():
        print(f"{step.at:8.1f} s  {step.fault:<22} {step.seed:>10}")
    if asked.plan:
        return 0
    RESULTS.mkdir(exist_ok=True)
    name = time.strftime("%Y%m%d-%H%M%S") + f"-seed{asked.seed}"
    data_dir = Path(tempfile.mkdtemp(prefix="chaos-"))
    options = Options(
        schedule=schedule,
        seed=asked.seed,
        data_dir=data_dir,
        history=RESULTS / f"{name}.history.jsonl",
        gateways=asked.gateways,
        workers=asked.workers,
        crowd=asked.crowd,
        hurry=asked.hurry,
    )
    try:
        outcome = asyncio.run(run(options, lambda line: print(line, flush=True)))
    except ServiceFailedError as error:
        print(f"the run could not be finished: {error}\nits data is in {data_dir}", file=sys.stderr)
        return 1
    made = report.make(schedule, asked.seed, outcome, check(outcome.records))
    (RESULTS / f"{name}.json").write_bytes(
        msgspec.json.format(msgspec.json.encode(report.document(made)), indent=2)
    )
    print(report.table(made))
    print(f"written to {RESULTS / name}.json")
    if made.passed and not asked.keep:
        shutil.rmtree(data_dir)
    else:
        print(f"the service's data and log are kept in {data_dir}")
    return 0 if made.passed else 1


if __name__ == "__main__":
    sys.exit(main())
