"""`Diary`: writes every entry into each kind of storage at once, so that a half-done event shows. And what it should contain."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from durable import AlarmInfo, DurableObject, ObjectError
from durable.errors import DurableError

KEEP = "keep"
"""An entry that leaves the alarm as it is; others clear it (None), or set [due, entry of its ringing, failures first]."""

Alarm = list[Any] | str | None


class RefusedError(ObjectError):
    """What the class raises on purpose."""


class Diary(DurableObject):
    """Keeps its entries as a value, as rows, in its alarm and in its sockets' attachments, and tells the sockets."""

    migrations = ("CREATE TABLE entry (number INTEGER PRIMARY KEY, text TEXT)",)

    async def write(self, *entries: str, alarm: Alarm = KEEP) -> int:
        """Write entries, each but the last flushed; gives how many there are."""
        for number, entry in enumerate(entries):
            if number:
                await self.ctx.flush()
            self._write(entry, alarm)
        return len(self.ctx.storage.get("entries", []))

    async def fail(self, entry: str, declared: bool, *flushed: str) -> None:
        """Write entries that are flushed, then one more, and raise."""
        for done in flushed:
            self._write(done, KEEP)
            await self.ctx.flush()
        self._write(entry, None)
        raise RefusedError("as asked") if declared else ValueError("as asked")

    async def pass_on(self, other: str, theirs: str, before: list[str], after: list[str]) -> None:
        """Write `theirs` in another diary, after and before entries of one's own."""
        for entry in before:
            self._write(entry, KEEP)
        await Diary.namespace.get_by_name(other).write(theirs)
        for entry in after:
            self._write(entry, KEEP)

    async def look(self) -> dict[str, Any]:
        """Everything that is stored."""
        storage = self.ctx.storage
        return {
            "entries": storage.get("entries", []),
            "rows": [row[0] for row in storage.sql.exec("SELECT text FROM entry ORDER BY number")],
            "alarm": storage.get("alarm"),
            "due": storage.get_alarm(),
            "sockets": {ws.id: ws.attachment for ws in self.ctx.get_web_sockets()},
        }

    def _write(self, entry: str, alarm: Alarm) -> None:
        storage = self.ctx.storage
        storage.put("entries", [*storage.get("entries", []), entry])
        storage.sql.exec("INSERT INTO entry (text) VALUES (?)", entry)
        if alarm is None:
            storage.delete_alarm()
        elif alarm != KEEP:
            storage.set_alarm(int(alarm[0]))
        if alarm != KEEP:
            storage.put("alarm", alarm)
        for ws in self.ctx.get_web_sockets():
            ws.attachment = entry
        self.ctx.broadcast(entry)

    async def alarm(self, info: AlarmInfo) -> None:
        _, entry, failures = self.ctx.storage.get("alarm")
        self._write(entry, None)
        if info.retry_count < failures:
            self.ctx.storage.set_alarm(self.ctx.now() + 10**9)
            raise ValueError("as asked")

    async def web_socket_connect(self, ws: Any) -> None:
        self.ctx.accept_web_socket(ws)
        self._write(ws.user["opened"], KEEP)

    async def web_socket_message(self, ws: Any, message: Any) -> None:
        entry = str(message)
        self._write(entry, KEEP)
        if entry.startswith("never"):
            raise ValueError("as asked")

    async def web_socket_close(self, ws: Any, code: int, reason: str, was_clean: bool) -> None:
        self._write(ws.user["closed"], KEEP)


@dataclass
class Deed:
    """One operation: the entries it makes, as (diary, entry) in the order of their commits, and how it has ended."""

    parts: list[tuple[str, str]]
    fails: bool = False
    outcome: BaseException | None = None

    @property
    def is_certain(self) -> bool:
        """Whether all its parts must be there: it was acknowledged, or it said that what it had flushed stands."""
        return self.outcome is None or (isinstance(self.outcome, DurableError) and self.fails)


@dataclass
class DiaryModel:
    """What one diary must contain: all of it follows from its entries in their order."""

    name: str
    entries: list[str] = field(default_factory=list)
    alarms: dict[str, Alarm] = field(default_factory=dict)  # by the entry that sets them
    open: dict[str, str] = field(default_factory=dict)  # socket id by its opening entry
    closings: dict[str, str] = field(default_factory=dict)  # opening entry by its closing entry

    def learn(self, entries: list[str], certain: Iterable[str], possible: Iterable[str]) -> list[str]:
        """Compare what is there with what may have been added; the new entries."""
        known = len(self.entries)
        assert entries[:known] == self.entries, "an entry that was seen has gone"
        new = entries[known:]
        assert len(set(new)) == len(new), f"twice: {new}"
        assert set(certain) <= set(new), f"acknowledged, but lost: {set(certain) - set(new)} ({new})"
        assert set(new) <= {*certain, *possible}, f"never asked for, or undone: {new}"
        self.entries = entries
        return new

    @property
    def alarm(self) -> list[Any] | None:
        """[due, entry, failures] of the alarm that is set."""
        alarm: Any = None
        for entry in self.entries:
            effect = self.alarms.get(entry, KEEP)
            alarm = alarm if effect == KEEP else effect
        return alarm  # type: ignore[no-any-return]

    @property
    def sockets(self) -> dict[str, str]:
        """Ids and attachments of the sockets that must be listed."""
        opened = [entry for entry in self.entries if entry in self.open]
        closed = {self.closings[entry] for entry in self.entries if entry in self.closings}
        return {self.open[entry]: self.entries[-1] for entry in opened if entry not in closed}
