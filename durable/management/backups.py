"""`manage.py objects backup`, `restore` and `verify`: the parts of the command that are about copies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from durable.backups import Backups, Checked, Made, open_archive
from durable.conf import durable_settings
from durable.errors import DurableError
from durable.identity import ObjectId, id_from_string
from durable.inspector import Inspector, find_class, find_object, list_records
from durable.inspector.audit import described, enter
from durable.models import AuditEntry, BackupState

AT_ONCE = 4  # objects that a command deals with at the same time
PAGE_ROWS = 500
PROGRESS_SECONDS = 0.5
BUSY_SECONDS = 5.0  # how long one object is waited for that somebody else copies: they may have died
BUSY_PAUSE = 0.1
MOST_LISTED = 1000

T = TypeVar("T")
Ask = Callable[[Callable[[Inspector], Any]], Any]
"""Puts a question to the running service, and gives the answer."""


def add_actions(actions: Any) -> None:
    """Declare the actions about copies."""
    backup = actions.add_parser(
        "backup",
        help="copy objects now, if they have changed: one, those of a class, or all that wait for it",
    )
    _some(backup)
    backup.add_argument("--all", action="store_true", help="look at all objects, not only at noted changes")
    backup.add_argument("--json", action="store_true", help="print the counts as one JSON object")

    restore = actions.add_parser("restore", help="put a copy in the place of what an object stores")
    restore.add_argument("class_key", metavar="Class")
    restore.add_argument("name", metavar="NAME")
    restore.add_argument("--copy", metavar="WHICH", help="the beginning of its time; default: the newest")
    restore.add_argument("--list", action="store_true", help="only list the copies there are, newest first")
    restore.add_argument("--json", action="store_true", help="print JSON")

    verify = actions.add_parser("verify", help="read copies to the last byte and check that they are sound")
    _some(verify)
    verify.add_argument("--json", action="store_true", help="print what was found as one JSON object")


def _some(parser: CommandParser) -> None:
    parser.add_argument("class_key", nargs="?", metavar="Class", help="only objects of this class")
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this object")


class CopyCommands:
    """Carries out the actions.

    Args:
        ask: the way to the service.
        out: where results go.
        err: where progress and problems go.
    """

    def __init__(self, ask: Ask, out: OutputWrapper, err: OutputWrapper) -> None:
        self._ask = ask
        self._out = out
        self._err = err
        self._conf = durable_settings()
        self._archive = open_archive(self._conf.backup_storage)

    def backup(self, options: dict[str, Any]) -> None:
        """Copy objects; raises CommandError when one could not be copied."""
        targets, details = self._targets(options, _all if options["all"] else _waiting)
        counts = dict.fromkeys((made.value for made in Made), 0)
        problems = Problems(self._err, listed=options["json"])

        give_up = time.monotonic() + BUSY_SECONDS

        async def make(backups: Backups, target: ObjectId) -> Made:
            made = await backups.make(target)
            while made is Made.BUSY and options["name"] is not None and time.monotonic() < give_up:
                await asyncio.sleep(BUSY_PAUSE)
                made = await backups.make(target)
            return made

        with self._recorded("object.backup", details):
            for target, made in self._each(targets, make, "copied"):
                if isinstance(made, Made):
                    counts[made.value] += 1
                else:
                    problems.add(target, str(made))
            self._report(counts, problems)
            if problems.count:
                raise CommandError(f"{problems.count} objects could not be copied")
            if options["name"] is not None and counts[Made.BUSY.value]:
                raise CommandError("somebody else has begun to copy this object; try again in some minutes")

    def verify(self, options: dict[str, Any]) -> None:
        """Check copies; raises CommandError when one is not sound, or an object that was named has none."""
        targets, details = self._targets(options, lambda key: self._archive.objects(key))
        counts = {"objects": 0, "sound": 0}
        problems = Problems(self._err, listed=options["json"])

        async def verify(backups: Backups, target: ObjectId) -> list[Checked]:
            return await backups.verify(target)

        with self._recorded("object.verify", details):
            for target, found in self._each(targets, verify, "verified"):
                counts["objects"] += 1
                if not isinstance(found, list):
                    problems.add(target, str(found))
                    continue
                if not found:
                    problems.add(target, "it has no copy")
                for copy, problem in found:
                    if problem is None:
                        counts["sound"] += 1
                    else:
                        problems.add(target, problem, copy.label)
            self._report(counts, problems)
            if problems.count:
                raise CommandError(f"{problems.count} copies are missing or not sound")

    def restore(self, options: dict[str, Any]) -> None:
        """Restore an object, or list its copies."""
        target = find_object(options["class_key"], options["name"])
        if options["list"]:
            self._list(target, options["json"])
            return
        copy = self._ask(lambda inspector: self._backups(inspector).restore(target, options["copy"]))
        if options["json"]:
            self._out.write(json.dumps({"copy": copy.label, "seq": copy.seq, "bytes": copy.size}))
        else:
            self._out.write(f"Restored {copy.size} bytes from the copy {copy.label}.")

    def _list(self, target: ObjectId, as_json: bool) -> None:
        copies = [copy for copy in self._archive.copies(target) if copy.whole]
        if as_json:
            rows = [{"copy": copy.label, "seq": copy.seq, "bytes": copy.size} for copy in copies]
            self._out.write(json.dumps(rows))
            return
        for copy in copies:
            self._out.write(f"{copy.label}  commit {copy.seq:<10} {copy.size:>12} bytes")

    def _backups(self, inspector: Inspector) -> Backups:
        return Backups(inspector, self._archive, self._conf)

    def _targets(
        self, options: dict[str, Any], several: Callable[[str | None], Iterable[ObjectId]]
    ) -> tuple[Iterable[ObjectId], dict[str, Any]]:
        """The objects that are meant, and what the audit log says of them."""
        key, name = options["class_key"], options["name"]
        if name is not None:
            target = find_object(key, name)
            return [target], {"object_id": target}
        if key is not None:
            find_class(key)
        return several(key), {"object_id": None, "of": key or "all classes"}

    @contextmanager
    def _recorded(self, what: str, details: dict[str, Any]) -> Iterator[None]:
        """Enter it in the audit log, and there afterwards if it failed or was interrupted."""
        entry: AuditEntry = self._ask(lambda inspector: enter(inspector.who, what, **details))
        try:
            yield
        except BaseException as error:
            entry.came_to_nothing(described(error))
            raise

    def _each(
        self,
        targets: Iterable[ObjectId],
        work: Callable[[Backups, ObjectId], Awaitable[T]],
        verb: str,
    ) -> Iterator[tuple[ObjectId, T | DurableError | OSError]]:
        """Do something with every target, a few at a time; what it gave or raised. Tells how far it is."""

        async def do(backups: Backups, target: ObjectId) -> T | DurableError | OSError:
            try:
                return await work(backups, target)
            except (DurableError, OSError) as error:
                return error

        def some(batch: list[ObjectId]) -> Callable[[Inspector], Any]:
            async def question(inspector: Inspector) -> list[T | DurableError | OSError]:
                backups = self._backups(inspector)
                return await asyncio.gather(*(do(backups, target) for target in batch))

            return question

        progress = Progress(self._err, verb)
        rest = iter(targets)
        while batch := list(islice(rest, AT_ONCE)):
            yield from zip(batch, self._ask(some(batch)), strict=True)
            progress.add(len(batch))
        progress.end()

    def _report(self, counts: dict[str, int], problems: Problems) -> None:
        if problems.listed is not None:
            self._out.write(json.dumps({**counts, "failed": problems.count, "problems": problems.listed}))
        else:
            self._out.write(", ".join(f"{count} {name}" for name, count in counts.items()) + ".")


class Problems:
    """What went wrong with which object: told at once, or listed, the first ones, for a JSON document.

    Attributes:
        count: how many there are.
        listed: the first thousand, or None.
    """

    def __init__(self, err: OutputWrapper, *, listed: bool) -> None:
        self._err = err
        self.count = 0
        self.listed: list[dict[str, str]] | None = [] if listed else None

    def add(self, target: ObjectId, problem: str, copy: str = "") -> None:
        """One more, of the object or of one of its copies."""
        self.count += 1
        if self.listed is None:
            which = f" copy {copy}" if copy else ""
            self._err.write(f"{target.class_key} {target.name or target}{which}: {problem}")
        elif len(self.listed) < MOST_LISTED:
            names = {"name": target.name or "", "copy": copy}
            named = {key: value for key, value in names.items() if value}
            self.listed.append({"class": target.class_key, "id": str(target), **named, "problem": problem})


def _waiting(class_key: str | None) -> Iterator[ObjectId]:
    """The objects with a change that no copy has."""
    rows = BackupState.objects.filter(changed_at__isnull=False).order_by("id")
    if class_key is not None:
        rows = rows.filter(class_key=class_key)
    last = 0
    while page := list(rows.filter(id__gt=last)[:PAGE_ROWS]):
        for row in page:
            yield id_from_string(row.class_key, row.object_id)
        last = page[-1].pk


def _all(class_key: str | None) -> Iterator[ObjectId]:
    """All objects of the catalog."""
    position = None
    while True:
        page = list_records(class_key, after=position, limit=PAGE_ROWS)
        for record in page.records:
            yield id_from_string(record.class_key, record.id)
        position = page.next
        if position is None:
            return


class Progress:
    """How many and how fast, on one line of a terminal; nothing anywhere else.

    Args:
        err: where it goes.
        verb: what happened to those that are counted.
    """

    def __init__(self, err: OutputWrapper, verb: str) -> None:
        self._err = err
        self._verb = verb
        self._count = 0
        self._began = self._shown = time.monotonic()
        self._on_terminal = err.isatty()

    def add(self, count: int) -> None:
        """So many more are done."""
        self._count += count
        now = time.monotonic()
        if self._on_terminal and now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            rate = self._count / (now - self._began)
            self._err.write(f"\r{self._count} {self._verb}, {rate:.0f}/s ", ending="")
            self._err.flush()

    def end(self) -> None:
        """All are done."""
        if self._on_terminal and self._shown > self._began:
            self._err.write("\n")
