"""A short run of the instrument itself: every fault once, with real processes, and no promise broken."""

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from chaos import report
from chaos.checker import check
from chaos.faults import FAULTS
from chaos.history import Injection, Operation, Record, Stored, read
from chaos.run import Options, Outcome, run
from chaos.schedule import plan

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

TOO_LONG = "redis-away-30"
"""The one fault that `make chaos` has and a test run does not: it alone lasts half a minute."""
SEED = 1


async def test_no_fault_breaks_a_promise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "httpx")  # it tells of every request
    schedule = plan({name: kind.cost for name, kind in FAULTS.items() if name != TOO_LONG}, seed=SEED)
    history = tmp_path / "history.jsonl"
    outcome = await run(Options(schedule, SEED, tmp_path / "data", history, crowd=200, hurry=True), print)
    made = report.make(schedule, SEED, outcome, check(outcome.records))
    print(report.table(made))
    assert made.findings == []
    assert outcome.broken == []
    injected = {record.fault: record for record in outcome.records if isinstance(record, Injection)}
    assert set(injected) == set(FAULTS) - {TOO_LONG}
    assert [name for name, record in injected.items() if record.recovered is None] == []
    assert list(read(history)) == outcome.records
    _plant_each_kind(outcome)


def _plant_each_kind(outcome: Outcome) -> None:
    """What was really seen, with one thing changed, is not passed."""
    records = outcome.records
    counter = next(record for record in records if isinstance(record, Stored) and record.kind == "counter")
    fewer = {key: value - 1 for key, value in counter.value.items()}
    more = {key: value + 1000 for key, value in counter.value.items()}
    assert _kinds(records, counter, replace(counter, value=fewer)) >= {"lost"}
    assert _kinds(records, counter, replace(counter, value=more)) >= {"doubled"}
    looked = [record for record in records if isinstance(record, Operation) and record.kind == "read"]
    late = looked[-1]
    assert _kinds(records, late, replace(late, result=looked[0].result | {"value": 0})) >= {"stale"}
    room = next(record for record in records if isinstance(record, Stored) and record.kind == "room")
    messages = room.value["messages"]
    assert _kinds(records, room, replace(room, value=room.value | {"messages": messages[1:]})) >= {"lost"}
    twice = [*messages, [messages[-1][0] + 1, messages[0][1]]]
    assert _kinds(records, room, replace(room, value=room.value | {"messages": twice})) >= {"doubled"}


def _kinds(records: list[Record], old: Record, new: Record) -> set[str]:
    return {finding.kind for finding in check([new if record is old else record for record in records])}
