"""Alarms: every one that was set has run, and not before its time by the owner's own clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaos.history import Record

from .finding import Finding, operations, stored

WAKE = frozenset({"wake"})


def check_alarms(records: Sequence[Record]) -> Iterator[Finding]:
    """Check every object whose alarms were stored at the end."""
    asked = operations(records, WAKE)
    for name, final in stored(records, "alarms").items():
        rung: dict[str, list[int]] = final.value["rung"]
        due_later = {token for token, due in final.value["waiting"].items() if due > final.value["now"]}
        for one in asked.get(name, []):
            if one.outcome == "ok" and one.argument["token"] not in rung.keys() | due_later:
                yield Finding("lost", name, one.ended, f"the alarm of {one.argument['token']} has not run")
        for token, (due, fired) in rung.items():
            if fired < due:
                yield Finding("early", name, final.at, f"the alarm of {token} ran {due - fired} ms too early")
