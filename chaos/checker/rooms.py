"""Rooms: each acknowledged message once and in its sender's order, no number twice or backwards on a connection, nothing missed.

Across an owner's death a broadcast may be lost, never repeated; so what counts as delivered is what a client has after it
asked for what it misses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import lt

from chaos.history import Frame, Operation, Record, Stored

from .finding import Finding, operations, stored

SAY, DRAW = frozenset({"say"}), frozenset({"draw"})
BROADCAST = frozenset({"chat", "draw"})


def check_rooms(records: Sequence[Record]) -> Iterator[Finding]:
    """Check every room that was stored at the end."""
    said, drawn = operations(records, SAY), operations(records, DRAW)
    finals = stored(records, "room")
    for name, final in finals.items():
        yield from _check_messages(name, said.get(name, []), final)
        yield from _check_elements(name, drawn.get(name, []), final)
    yield from _check_connections(records)
    for record in records:
        if isinstance(record, Stored) and record.kind == "held" and record.object in finals:
            yield from _check_held(record, finals[record.object])


def _check_messages(name: str, said: Sequence[Operation], final: Stored) -> Iterator[Finding]:
    messages: list[tuple[int, str]] = [(seq, client_id) for seq, client_id in final.value["messages"]]
    times = Counter(client_id for _, client_id in messages)
    place = {client_id: seq for seq, client_id in messages}
    sent = {one.argument["id"]: one for one in said}
    for seq, count in Counter(seq for seq, _ in messages).items():
        if count > 1:
            yield Finding("doubled", name, final.at, f"number {seq} stands {count} times in the room")
    for client_id, count in times.items():
        one = sent.get(client_id)
        if one is None or one.outcome == "fail":
            yield Finding(
                "invented", name, final.at, f"message {client_id} is there, and was not sent or refused"
            )
        elif count > 1:
            yield Finding(
                "doubled", name, one.ended, f"message {client_id} is there {count} times", count - 1
            )
    by_sender: dict[str, list[Operation]] = defaultdict(list)
    for one in said:
        if one.outcome == "ok" and one.argument["id"] not in place:
            yield Finding(
                "lost", name, one.ended, f"message {one.argument['id']} was acknowledged, and is gone"
            )
        elif one.outcome == "ok" and one.result["seq"] != place[one.argument["id"]]:
            detail = (
                f"message {one.argument['id']} was acknowledged as {one.result['seq']}, and is "
                f"{place[one.argument['id']]}"
            )
            yield Finding("reordered", name, one.ended, detail)
        if one.argument["id"] in place:
            by_sender[one.client].append(one)
    for sender, theirs in by_sender.items():
        theirs.sort(key=lambda one: one.sent)
        for before, after in pairwise(theirs):
            earlier, later = place[before.argument["id"]], place[after.argument["id"]]
            if later < earlier and _in_order(before, after):
                detail = f"{sender}'s message {after.argument['id']} is number {later}, before {earlier}"
                yield Finding("reordered", name, after.ended, detail)


def _in_order(before: Operation, after: Operation) -> bool:
    """Whether each sending of one was followed by one of the other, and none came between: only then is there an order to keep."""
    if before.sent[-1] < after.sent[0]:
        return True
    return len(before.sent) == len(after.sent) and all(map(lt, before.sent, after.sent))


def _check_elements(name: str, drawn: Sequence[Operation], final: Stored) -> Iterator[Finding]:
    """The highest version wins, then the lower nonce; what was acknowledged is there or was surpassed."""
    sent: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for one in drawn:
        if one.outcome != "fail":
            sent[one.argument["element"]].add(_rank(one.argument["version"], one.argument["nonce"]))
    held = {element: _rank(version, nonce) for element, version, nonce in final.value["elements"]}
    for element, rank in held.items():
        if rank not in sent[element]:
            yield Finding(
                "invented", name, final.at, f"element {element} is at {rank}, which nobody has drawn"
            )
    for one in drawn:
        rank = _rank(one.argument["version"], one.argument["nonce"])
        element = one.argument["element"]
        if one.outcome == "ok" and rank > held.get(element, (0, 0)):
            detail = f"element {element} was acknowledged at {rank}, and is at {held.get(element)}"
            yield Finding("lost", name, one.ended, detail)


def _rank(version: int, nonce: int) -> tuple[int, int]:
    return version, -nonce


def _check_connections(records: Sequence[Record]) -> Iterator[Finding]:
    """On one connection the numbers of what is broadcast only grow, also beyond what a welcome has told."""
    newest: dict[int, int] = {}
    seen: dict[int, set[int]] = defaultdict(set)
    for frame in records:
        if not isinstance(frame, Frame):
            continue
        reached = newest.get(frame.connection, 0)
        if frame.kind in BROADCAST:
            if frame.seq in seen[frame.connection]:
                detail = f"{frame.client} received number {frame.seq} twice on one connection"
                yield Finding("doubled", frame.object, frame.at, detail)
            elif frame.seq <= reached:
                detail = f"{frame.client} received number {frame.seq} after {reached}"
                yield Finding("reordered", frame.object, frame.at, detail)
            seen[frame.connection].add(frame.seq)
            newest[frame.connection] = max(reached, frame.seq)
        elif frame.kind == "welcome":
            newest[frame.connection] = max(reached, frame.seq)


def _check_held(held: Stored, final: Stored) -> Iterator[Finding]:
    """Who asked for what is missing has everything from where it began."""
    floor = held.value["floor"]
    wanted = {client_id for seq, client_id in final.value["messages"] if seq > floor}
    missing = sorted(wanted - set(held.value["messages"]))
    if missing:
        detail = f"{held.client} was not told {', '.join(missing[:3])}" + (" …" if missing[3:] else "")
        yield Finding("missed", held.object, held.at, detail, len(missing))
