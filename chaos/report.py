"""The figures of a run: a row a fault, the verdict, a table for people and a document for programs."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from .checker import Finding
from .faults import FAULTS
from .history import Injection, Operation, Record, SocketEvent, Trouble
from .run import Outcome
from .schedule import Schedule

CALM = "(between)"
"""The row of what happened while no fault was under way."""


class Row(msgspec.Struct):
    """One fault, all its times together. `pauses` are the longest of each object at each time, in seconds."""

    fault: str
    times: int = 0
    seconds: float = 0.0
    acknowledged: int = 0
    unknown: int = 0
    sent_again: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    failed: dict[str, int] = {}
    sockets_dropped: int = 0
    longest_pause: float = 0.0
    paused_object: str = ""
    own_lag: float = 0.0
    pauses: list[float] = []
    figures: dict[str, float] = {}
    broken: list[str] = []


class Report(msgspec.Struct):
    """Everything that a run has shown. `load` is the machine's load average at the end, for the figures that depend on it."""

    seed: int
    seconds: float
    processors: int
    load: float
    schedule: list[tuple[float, str]]
    left_out: tuple[str, ...]
    rows: list[Row]
    findings: list[Finding]
    broken: list[str]

    @property
    def passed(self) -> bool:
        """Whether everything that must hold did."""
        return not self.findings and not self.broken


def make(schedule: Schedule, seed: int, outcome: Outcome, findings: Sequence[Finding]) -> Report:
    """Put the records into rows, and judge them."""
    windows = [record for record in outcome.records if isinstance(record, Injection)]
    rows: dict[str, Row] = {CALM: Row(CALM)}
    for window in windows:
        row = rows.setdefault(window.fault, Row(window.fault))
        row.times += 1
        row.seconds += _end(window) - window.begun
        row.broken += window.broken
        for name, figure in window.figures.items():
            row.figures[name] = max(figure, row.figures.get(name, figure))
        late = [lag for at, lag in outcome.own_lag if window.begun <= at <= _end(window)]
        row.own_lag = max([row.own_lag, *late])
    _count(rows, windows, outcome.records)
    _measure_pauses(rows, windows, outcome.records)
    for finding in findings:
        row = rows[_fault_at(windows, finding.at)]
        if finding.kind == "lost":
            row.lost += finding.count
        elif finding.kind == "doubled":
            row.doubled += finding.count
        else:
            row.out_of_order += finding.count
    for row in rows.values():
        _judge(row)
    broken = [*outcome.broken, *(f"{row.fault}: {what}" for row in rows.values() for what in row.broken)]
    steps = [(step.at, step.fault) for step in schedule.steps]
    return Report(
        seed,
        round(outcome.seconds, 1),
        os.cpu_count() or 1,
        round(os.getloadavg()[0], 1),
        steps,
        schedule.left_out,
        list(rows.values()),
        list(findings),
        broken,
    )


def _end(window: Injection) -> float:
    return window.healed if window.recovered is None else window.recovered


def _fault_at(windows: Sequence[Injection], at: float) -> str:
    for window in windows:
        if window.begun <= at <= _end(window):
            return window.fault
    return CALM


def _count(rows: dict[str, Row], windows: Sequence[Injection], records: Iterable[Record]) -> None:
    failed: dict[str, Counter[str]] = {name: Counter() for name in rows}
    for record in records:
        if isinstance(record, Operation):
            name = _fault_at(windows, record.ended)
            rows[name].acknowledged += record.outcome == "ok"
            rows[name].unknown += record.outcome == "unknown"
            rows[name].sent_again += max(0, len(record.sent) - 1)
        elif isinstance(record, Trouble):
            failed[_fault_at(windows, record.at)][record.what] += 1
        elif isinstance(record, SocketEvent) and record.event == "lost":
            rows[_fault_at(windows, record.at)].sockets_dropped += 1
    for name, row in rows.items():
        row.failed = dict(failed[name].most_common())


def _measure_pauses(rows: dict[str, Row], windows: Sequence[Injection], records: Iterable[Record]) -> None:
    """The longest time between two acknowledgements of each object, of those that touch a fault's window."""
    times: dict[str, list[float]] = {}
    for record in records:
        if isinstance(record, Operation) and record.outcome == "ok":
            times.setdefault(record.object, []).append(record.ended)
    for name, ended in times.items():
        if name.startswith(("bell", "batched")):
            continue  # their clients pause by themselves
        ended.sort()
        for window in windows:
            first = max(0, bisect_left(ended, window.begun) - 1)
            last = bisect_left(ended, _end(window)) + 1
            pauses = [
                after - before
                for before, after in zip(ended[first:last], ended[first + 1 : last], strict=False)
            ]
            longest, row = max(pauses, default=0.0), rows[window.fault]
            row.pauses.append(round(longest, 3))
            if longest > row.longest_pause:
                row.longest_pause, row.paused_object = longest, name


def _judge(row: Row) -> None:
    """Hold the row against what must hold during its fault."""
    kind = FAULTS.get(row.fault)
    if kind is None:
        if row.failed:
            row.broken.append(f"requests failed while nothing was wrong: {row.failed}")
        return
    if kind.fails_nothing and row.failed:
        row.broken.append(f"requests failed visibly: {row.failed}")
    if kind.keeps_sockets and row.sockets_dropped:
        row.broken.append(f"{row.sockets_dropped} sockets were dropped")
    if kind.pause_within is not None and row.pauses:
        ordered = sorted(row.pauses)
        worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        if worst >= kind.pause_within:
            row.broken.append(f"an object paused for {worst:.2f} s (p99), not under {kind.pause_within:g} s")


def table(report: Report) -> str:
    """The report for people."""
    head = f"{'fault':<22}{'times':>6}{'ack':>8}{'lost':>6}{'dbl':>5}{'order':>6}{'unkn':>6}{'fail':>6}{'sock':>6}"
    lines = [head + f"{'pause s':>9}{'own lag':>9}  details", "-" * 120]
    for row in report.rows:
        details = [f"{count} x {kind}" for kind, count in row.failed.items()]
        details += [f"{row.sent_again} sent again"] if row.sent_again else []
        details += [f"{name} {figure:.2f}" for name, figure in row.figures.items()]
        line = f"{row.fault:<22}{row.times or '':>6}{row.acknowledged:>8}{row.lost:>6}{row.doubled:>5}{row.out_of_order:>6}"
        line += f"{row.unknown:>6}{sum(row.failed.values()):>6}{row.sockets_dropped:>6}"
        line += f"{row.longest_pause:>9.2f}{row.own_lag:>9.2f}  {'; '.join(details)}"
        lines.append(line)
    lines.append("-" * 120)
    lines += [f"FOUND  {one.kind:<10} {one.object}: {one.detail}" for one in report.findings[:50]]
    lines += [f"BROKEN {what}" for what in report.broken]
    if report.left_out:
        lines.append(f"not run, for want of time: {', '.join(report.left_out)}")
    lines.append(
        f"seed {report.seed}, {report.seconds:g} s, {report.processors} processors, load {report.load:g}: "
        + ("everything that was promised held" if report.passed else "NOT everything that was promised held")
    )
    return "\n".join(lines)


def document(report: Report) -> dict[str, Any]:
    """The report for programs."""
    built: dict[str, Any] = msgspec.to_builtins(report)
    return {"version": 1, "passed": report.passed, **built}
