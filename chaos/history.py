"""What every client did and saw: an append-only list of records, each a line of a file as soon as it is complete.

Times are seconds on this process's monotonic clock. An operation's outcome is "ok" (it was acknowledged), "fail" (refused, and
certainly without effect) or "unknown" (no answer, or one that says so: it may have had its effect or not).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Outcome = Literal["ok", "fail", "unknown"]
Values = dict[str, Any]


class Operation(msgspec.Struct, frozen=True, tag="operation"):
    """Something a client asked for, from the moment it began to ask until it knew the outcome.

    One that is repeated under one identity may have had visible failures on the way, which are records of their own, and
    still be "ok". `sent` has the times at which it was sent, where it may be sent more than once.
    """

    client: str
    object: str
    kind: str
    invoked: float
    ended: float
    outcome: Outcome
    argument: Values = {}
    result: Values = {}
    sent: tuple[float, ...] = ()


class Trouble(msgspec.Struct, frozen=True, tag="trouble"):
    """A failure that a client saw, in words."""

    client: str
    object: str
    at: float
    what: str


class Frame(msgspec.Struct, frozen=True, tag="frame"):
    """A frame that a client received, of those that carry a number."""

    client: str
    object: str
    connection: int
    at: float
    kind: str
    seq: int
    id: str = ""


class SocketEvent(msgspec.Struct, frozen=True, tag="socket"):
    """A connection opened, was lost (the client wanted to keep it), or was closed by its client."""

    client: str
    object: str
    connection: int
    at: float
    event: Literal["open", "lost", "closed"]
    code: int = 0


class Injection(msgspec.Struct, frozen=True, tag="fault"):
    """A fault: when it was injected and healed, when every object had made progress again (None: it did not)."""

    fault: str
    begun: float
    healed: float
    recovered: float | None
    figures: dict[str, float] = {}
    broken: tuple[str, ...] = ()
    """What must hold during this fault, and did not; in words."""


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """What an object holds at the end, or what a client holds of it after it was told everything."""

    object: str
    kind: str
    at: float
    value: Values
    client: str = ""


Record = Operation | Trouble | Frame | SocketEvent | Injection | Stored


class Pending:
    """An operation under way; it ends once, by `ok`, `fail` or `unknown`."""

    def __init__(self, history: History, client: str, object_name: str, kind: str, argument: Values) -> None:
        self.client = client
        self.object = object_name
        self.kind = kind
        self.argument = argument
        self.invoked = history.clock()
        self.sent: list[float] = []
        self._history = history

    def trouble(self, problem: str) -> None:
        """A visible failure that is not the end of it: the client will ask again under the same identity."""
        self._history.troubled(self.client, self.object, problem)

    def ok(self, **result: Any) -> None:
        """It was acknowledged."""
        self._end("ok", result)

    def fail(self, problem: str) -> None:
        """It was refused and had no effect."""
        self.trouble(problem)
        self._end("fail", {})

    def unknown(self, problem: str) -> None:
        """Nobody can tell whether it had its effect."""
        self.trouble(problem)
        self._end("unknown", {})

    def _end(self, outcome: Outcome, result: Values) -> None:
        self._history.ended(
            self,
            Operation(
                self.client,
                self.object,
                self.kind,
                self.invoked,
                self._history.clock(),
                outcome,
                self.argument,
                result,
                tuple(self.sent),
            ),
        )


class History:
    """The records of one run.

    Args:
        path: where each is written as a line of JSON.
        clock: monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.records: list[Record] = []
        self.clock = clock
        self._last_ok: dict[str, float] = {}
        self._pending: dict[int, Pending] = {}
        self._file = path.open("wb")
        self._encode = msgspec.json.Encoder().encode

    def note(self, record: Record) -> None:
        """Append one record."""
        self.records.append(record)
        self._file.write(self._encode(record) + b"\n")

    def begin(self, client: str, object_name: str, kind: str, **argument: Any) -> Pending:
        """An operation begins now."""
        pending = Pending(self, client, object_name, kind, argument)
        self._pending[id(pending)] = pending
        return pending

    def ended(self, pending: Pending, operation: Operation) -> None:
        """An operation has its outcome; a second one is ignored."""
        if self._pending.pop(id(pending), None) is None:
            return
        if operation.outcome == "ok":
            self._last_ok[operation.object] = operation.ended
        self.note(operation)

    def troubled(self, client: str, object_name: str, problem: str) -> None:
        """A client saw a failure."""
        self.note(Trouble(client, object_name, self.clock(), problem))

    def last_ok(self, object_name: str) -> float:
        """When an operation on the object was acknowledged last; 0 when none was."""
        return self._last_ok.get(object_name, 0.0)

    @property
    def pending(self) -> int:
        """Operations under way."""
        return len(self._pending)

    def close(self) -> None:
        """What is still under way has no known outcome."""
        for pending in list(self._pending.values()):
            pending.unknown("no answer before the end of the run")
        self._file.close()


def read(path: Path) -> Iterator[Record]:
    """The records of a finished run."""
    decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
    with path.open("rb") as file:
        yield from (decoder.decode(line) for line in file)
