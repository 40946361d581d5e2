"""Small histories, written by hand: one operation a line, at times that the test chooses."""

from typing import Any

from chaos.history import Frame, Injection, Operation, Record, Stored

ROOM = "room"


def add(
    at: float, version: int, value: int, by: int = 1, *, until: float | None = None, client: str = "a"
) -> Operation:
    """An acknowledged increment."""
    ended = at + 0.5 if until is None else until
    return Operation(
        client, "counter", "add", at, ended, "ok", {"by": by}, {"version": version, "value": value}
    )


def unknown_add(at: float, by: int = 1) -> Operation:
    """An increment without an answer."""
    return Operation("a", "counter", "add", at, at + 0.5, "unknown", {"by": by})


def failed_add(at: float) -> Operation:
    """An increment that was refused."""
    return Operation("a", "counter", "add", at, at + 0.5, "fail", {"by": 1})


def put(at: float, version: int, value: int, answered: int | None = None) -> Operation:
    """An acknowledged set."""
    result = {"version": version, "value": value if answered is None else answered}
    return Operation("a", "counter", "set", at, at + 0.5, "ok", {"value": value}, result)


def read(at: float, version: int, value: int) -> Operation:
    """A read."""
    return Operation("r", "counter", "read", at, at + 0.5, "ok", {}, {"version": version, "value": value})


def counter(version: int, value: int) -> Stored:
    """What is stored of the counter at the end."""
    return Stored("counter", "counter", 100.0, {"version": version, "value": value})


def say(
    at: float, n: int, seq: int = 0, *, outcome: Any = "ok", sent: tuple[float, ...] = (), client: str = "a"
) -> Operation:
    """A message; its id is the client's name and its number."""
    argument = {"id": f"{client}{n}", "n": n}
    result = {"seq": seq} if outcome == "ok" else {}
    return Operation(client, ROOM, "say", at, at + 0.5, outcome, argument, result, sent or (at,))


def draw(at: float, version: int, nonce: int = 5, *, outcome: Any = "ok", element: str = "e") -> Operation:
    """A version of an element."""
    argument = {"id": f"d{version}.{nonce}", "n": 0, "element": element, "version": version, "nonce": nonce}
    return Operation("a", ROOM, "draw", at, at + 0.5, outcome, argument, {"seq": 1}, (at,))


def room(*messages: tuple[int, str], elements: tuple[tuple[str, int, int], ...] = ()) -> Stored:
    """What is stored of the room at the end."""
    return Stored(ROOM, "room", 100.0, {"messages": list(messages), "elements": list(elements)})


def held(*messages: str, floor: int = 0) -> Stored:
    """What a client of the room has at the end."""
    return Stored(ROOM, "held", 99.0, {"messages": list(messages), "floor": floor}, "b")


def frames(*seqs: int, kind: str = "chat", connection: int = 1) -> list[Record]:
    """Frames that one connection received, in order."""
    return [Frame("b", ROOM, connection, float(at), kind, seq) for at, seq in enumerate(seqs)]


def admitted(*times: float, limit: int = 2, window: float = 1.0, took: float = 0.01) -> list[Record]:
    """Checks that were admitted."""
    argument = {"limit": limit, "window": window}
    return [Operation("a", "key", "check", at, at + took, "ok", argument, {"allowed": True}) for at in times]


def clock_moved(begun: float, healed: float) -> Injection:
    """A fault of the clock."""
    return Injection("clock-forward", begun, healed, healed)


def wake(token: str, outcome: Any = "ok") -> Operation:
    """An alarm that was set."""
    return Operation("a", "bell", "wake", 1.0, 1.5, outcome, {"token": token}, {"due": 10})


def rung(now: int = 1000, waiting: dict[str, int] | None = None, **times: tuple[int, int]) -> Stored:
    """What a bell has noted: (due, rung at) by token, and what still waits."""
    value = {
        "rung": {token: list(both) for token, both in times.items()},
        "waiting": waiting or {},
        "now": now,
    }
    return Stored("bell", "alarms", 100.0, value)
