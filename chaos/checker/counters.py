"""Counters: every acknowledged change counts once, versions agree with real time, no read is stale.

A counter's version grows by one with each change, and every answer names the version that it saw or made. So the acknowledged
changes and reads can be put into the counter's own order, and that order compared with the clients' clock: a change that
began after another's acknowledgement has a higher version, a read has at least the version of all acknowledged before it began.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from chaos.history import Operation, Record, Stored

from .finding import Finding, operations, stored

CHANGES = frozenset({"add", "add once", "set"})
READ = frozenset({"read"})


def check_counters(records: Sequence[Record]) -> Iterator[Finding]:
    """Check every counter that was stored at the end."""
    by_counter = operations(records, CHANGES | READ)
    for name, final in stored(records, "counter").items():
        asked = by_counter.get(name, [])
        changes = [one for one in asked if one.kind in CHANGES]
        yield from _check_total(name, changes, final)
        yield from _check_versions(name, asked, final)
        yield from _check_real_time(name, asked)


def _check_total(name: str, changes: Sequence[Operation], final: Stored) -> Iterator[Finding]:
    """The version counts the changes: all that were acknowledged and some of those whose outcome nobody knows."""
    version, value = final.value["version"], final.value["value"]
    certain = [one for one in changes if one.outcome == "ok"]
    possible = [one for one in changes if one.outcome == "unknown"]
    if version < len(certain):
        missing = len(certain) - version
        detail = f"{len(certain)} changes were acknowledged, and {version} are stored"
        yield Finding("lost", name, _last(certain, final), detail, missing)
    elif version > len(certain) + len(possible):
        surplus = version - len(certain) - len(possible)
        detail = f"{len(certain)} changes were acknowledged, {len(possible)} may have happened, and {version} are stored"
        unclaimed = _unclaimed(certain, version)
        at = unclaimed[-1][2] if unclaimed else _last(certain, final)
        told = "; ".join(
            f"version {n} between {after:.3f} and {before:.3f}" for n, after, before in unclaimed
        )
        yield Finding("doubled", name, at, f"{detail}: nobody was told that it made {told}", surplus)
    elif all(one.kind != "set" for one in changes):
        amount = sum(one.argument["by"] for one in certain)
        spare = sum(one.argument["by"] for one in possible)  # amounts are positive
        if value < amount:
            yield Finding("lost", name, final.at, f"{amount} was acknowledged, and the value is {value}")
        elif value > amount + spare:
            detail = f"at most {amount + spare} was added, and the value is {value}"
            yield Finding("doubled", name, final.at, detail)


def _unclaimed(certain: Sequence[Operation], newest: int) -> list[tuple[int, float, float]]:
    """The versions that no acknowledged change made, each with the times between which it was made."""
    made = {one.result["version"]: one for one in certain}
    found = []
    for version in range(1, newest + 1):
        if version not in made:
            after = max((one.invoked for number, one in made.items() if number < version), default=0.0)
            before = min((one.ended for number, one in made.items() if number > version), default=math.inf)
            found.append((version, after, before))
    return found


def _last(certain: Sequence[Operation], final: Stored) -> float:
    return max((one.ended for one in certain), default=final.at)


def _check_versions(name: str, asked: Sequence[Operation], final: Stored) -> Iterator[Finding]:
    """Each version is made by one change, has one value, and follows from the one before it."""
    made: dict[int, Operation] = {}
    values: dict[int, int] = {0: 0}
    for one in asked:
        if one.outcome != "ok":
            continue
        version, value = one.result["version"], one.result["value"]
        if version > final.value["version"]:
            detail = f"version {version} was seen by {one.client}, and {final.value['version']} is stored"
            yield Finding("lost", name, one.ended, detail)
        if one.kind in CHANGES:
            other = made.setdefault(version, one)
            if other is not one:
                detail = f"{other.client} and {one.client} were both told that they made version {version}"
                yield Finding("lost", name, one.ended, detail)
                continue
        if values.setdefault(version, value) != value:
            detail = f"version {version} was seen with the values {values[version]} and {value}"
            yield Finding("stale", name, one.ended, detail)
    for version, one in made.items():
        before, value = values.get(version - 1), one.result["value"]
        if one.kind == "set" and value != one.argument["value"]:
            yield Finding("stale", name, one.ended, f"set to {one.argument['value']}, answered {value}")
        elif one.kind != "set" and before is not None and value != before + one.argument["by"]:
            detail = f"version {version} is {value}, though {one.argument['by']} was added to {before}"
            yield Finding(
                "lost" if value < before + one.argument["by"] else "doubled", name, one.ended, detail
            )


def _check_real_time(name: str, asked: Sequence[Operation]) -> Iterator[Finding]:
    """Nothing that began later is older than what was acknowledged before it began."""
    known = [one for one in asked if one.outcome == "ok"]
    ended = sorted(known, key=lambda one: one.ended)
    position, newest, by = 0, 0, ""
    for one in known:  # in order of their beginning
        while position < len(ended) and ended[position].ended < one.invoked:
            if ended[position].result["version"] > newest:
                newest, by = ended[position].result["version"], ended[position].client
            position += 1
        version = one.result["version"]
        if one.kind in READ and version < newest:
            detail = f"{one.client} read version {version} after {by} had seen {newest}"
            yield Finding("stale", name, one.invoked, detail)
        elif one.kind in CHANGES and version <= newest:
            detail = f"{one.client} was told version {version} after {by} had seen {newest}"
            yield Finding("reordered", name, one.invoked, detail)
