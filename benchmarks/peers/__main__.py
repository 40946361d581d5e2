"""`python -m benchmarks.peers`: measure ours beside what one would use instead; print tables and keep every turn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from benchmarks import figures

from . import sides
from .contests import HEADING, PEERS, hold, rows
from .processes import PeerMissingError


def main() -> int:
    """Hold the contests; 1 when something was answered wrongly or left out."""
    about = "; ".join(f"{name}: {peer.about}" for name, peer in PEERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=f"The same load on our service and on each peer, in turns: ours, peer, ours, peer. {about}. Peers are installed on demand "
        "from the registries that npm and pip are configured for. Every run checks its own result.",
    )
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{', '.join(PEERS)} (default: all)")
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads with this in their name")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="turns of each workload; medians are shown (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each run of a closed loop (default: %(default)s)"
    )
    parser.add_argument(
        "--results", type=Path, default=figures.RESULTS, help="where it is kept (default: %(default)s)"
    )
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds must be at least 1, and --seconds above 0")
    contests: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with suppress(KeyboardInterrupt), sides.ours() as ours:  # what was held until then is kept
        for name in options.peers or PEERS:
            try:
                contests.extend(_against(name, ours, options))  # one after the other, as they end
            except PeerMissingError as error:
                left_out[name] = str(error)
                print(f"\n{name} is left out: {error}", file=sys.stderr, flush=True)
    content = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "left_out": left_out,
        "contests": contests,
    }
    path = figures.keep(options.results, "peers", content)
    print(
        f"\nmedians; ratio: ours to theirs, median of the turns; load: of the whole machine, one minute's average; {path}"
    )
    wrong = [
        turn for one in contests for turn in one["turns"] if turn["ours"]["wrong"] or turn["theirs"]["wrong"]
    ]
    return 1 if wrong or left_out else 0


def _against(name: str, ours: sides.Side, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every contest with one peer, shown as it ends."""
    peer = PEERS[name]
    figures.tell(f"{name}: {peer.about}")
    with ExitStack() as stack:
        theirs = stack.enter_context(peer.start())
        print(f"\nours beside {name}\n\n{HEADING}", flush=True)
        for workload in peer.workloads:
            if options.only not in workload.name:
                continue
            figures.tell(workload.name)
            contest = hold(name, ours, theirs, workload, options.rounds, options.seconds).as_json()
            print("\n".join(rows(contest)), flush=True)
            for turn in contest["turns"]:
                for side in ("ours", "theirs"):
                    if turn[side]["wrong"]:
                        print(f"  {side}: {turn[side]['wrong']}", file=sys.stderr, flush=True)
            yield contest


if __name__ == "__main__":
    sys.exit(main())
