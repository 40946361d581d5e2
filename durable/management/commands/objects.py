"""`manage.py objects ...`: list, look at, call, export, back up and delete objects of the running service from a shell."""

import argparse
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from durable.errors import DurableError
from durable.inspector import (
    Inspector,
    Record,
    Shown,
    TroubleRecord,
    ask,
    find_class,
    find_object,
    jsonable,
    list_records,
    list_troubles,
)
from durable.management.arguments import shell_user, utf8_text
from durable.management.backups import CopyCommands, add_actions
from durable.management.redeploy import add_redeploy, redeploy
from durable.service.attach import attach_to_redis
from durable.service.errors import ServiceError

T = TypeVar("T")

_EPILOG = """\
Class is the class's key, as "objects list" shows it; NAME is an object's name, or its id of 64 hex digits.
Looking wakes nothing. What is looked at or done is entered in the audit log. Exit status: 0 done, 1 refused or failed,
2 wrong usage."""


class Command(BaseCommand):
    help = "List, look at, call, export, import and delete objects of the running service."
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, epilog=_EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        listing = actions.add_parser("list", help="objects that have storage, by class and name")
        listing.add_argument("class_key", nargs="?", metavar="Class", help="only objects of this class")
        listing.add_argument("--prefix", type=utf8_text, default="", help="only names that begin with this")
        listing.add_argument("--limit", type=_limit, default=100, help="at most so many (default: 100)")
        listing.add_argument("--json", action="store_true", help="print a JSON list")

        show = actions.add_parser("show", help="state, owner, sockets, alarm and size of one object")
        _target(show)
        show.add_argument("--json", action="store_true", help="print one JSON object")

        call = actions.add_parser("call", help="call a method; prints what it returns as JSON")
        _target(call)
        call.add_argument("method", help="a public method of the class")
        call.add_argument(
            "arguments", nargs="?", default="[]", metavar="ARGS", help="a JSON list, such as '[5]'"
        )
        call.add_argument("--kwargs", default="{}", help="a JSON object of arguments by name")

        sql = actions.add_parser(
            "sql", help="read an object's tables by SQL, in a copy; values are shortened"
        )
        _target(sql)
        sql.add_argument("statement", help="one statement that only reads; the key-value storage is _do_kv")
        sql.add_argument("--limit", type=_limit, default=100, help="at most so many rows (default: 100)")
        sql.add_argument("--json", action="store_true", help="print one JSON object")

        _target(actions.add_parser("evict", help="put an object to sleep after its running event"))
        _target(
            actions.add_parser("abort", help="discard the live instance now; its running event is undone")
        )

        transfer = actions.add_parser(
            "transfer", help="move an object to another worker; its running event finishes"
        )
        _target(transfer)
        _worker(transfer)

        _target(actions.add_parser("rerun", help="run an alarm again that was given up after its retries"))

        export = actions.add_parser(
            "export", help="write an object to a plain SQLite file, also while it runs"
        )
        _target(export)
        export.add_argument(
            "file", metavar="FILE", type=Path, help="a plain file; one that is there is replaced"
        )

        importing = actions.add_parser("import", help="make an object from a file that export has written")
        _target(importing)
        importing.add_argument("file", metavar="FILE", type=Path)
        importing.add_argument(
            "--replace", action="store_true", help="put it in the place of the object there is"
        )

        _target(
            actions.add_parser(
                "delete", help="delete everything an object stores, its alarm too, and close its sockets"
            )
        )

        troubles = actions.add_parser("troubles", help="what is wrong with objects, the newest first")
        troubles.add_argument("class_key", nargs="?", metavar="Class", help="only objects of this class")
        troubles.add_argument("--limit", type=_limit, default=100, help="at most so many (default: 100)")
        troubles.add_argument("--json", action="store_true", help="print a JSON list")

        add_actions(actions)

        workers = actions.add_parser("workers", help="the processes that own objects")
        workers.add_argument("--json", action="store_true", help="print a JSON list")

        _worker(
            actions.add_parser(
                "drain", help="have a worker give its objects away and end; `serve` starts another"
            )
        )

        add_redeploy(actions)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except DurableError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(str(error)) from None
        except DatabaseError as error:
            raise CommandError(f"Django's database cannot be used ({error}); is it migrated?") from None

    def _list(self, options: dict[str, Any]) -> None:
        key = options["class_key"]
        if key is not None:
            find_class(key)
        page = list_records(key, prefix=options["prefix"], limit=options["limit"])
        if options["json"]:
            self.stdout.write(json.dumps([record.document() for record in page.records], ensure_ascii=False))
            return
        for record in page.records:
            self.stdout.write(_row(record))
        if page.next is not None:
            self.stderr.write(f"There are more than {options['limit']}; see --limit and --prefix.")

    def _show(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        shown = self._ask(lambda inspector: inspector.show(target))
        if options["json"]:
            self.stdout.write(json.dumps(shown, ensure_ascii=False))
            return
        for name, text in _lines(shown):
            self.stdout.write(f"{name:<16}{text}")

    def _call(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        arguments = _json(options["arguments"], list, "ARGS must be a JSON list, such as '[5, \"text\"]'")
        named = _json(options["kwargs"], dict, "--kwargs must be a JSON object, such as '{\"amount\": 5}'")
        result = self._ask(lambda inspector: inspector.call(target, options["method"], arguments, named))
        self.stdout.write(json.dumps(jsonable(result), ensure_ascii=False))

    def _sql(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        statement, limit = options["statement"], options["limit"]
        found = self._ask(lambda inspector: inspector.sql(target, statement, limit))
        if found is None:
            raise CommandError("this object stores nothing")
        if options["json"]:
            self.stdout.write(json.dumps(jsonable(found._asdict()), ensure_ascii=False))
            return
        self.stdout.write("\t".join(found.columns))
        for row in found.rows:
            self.stdout.write("\t".join("NULL" if value is None else _printable(str(value)) for value in row))
        if found.more:
            self.stderr.write(f"There are more than {limit} rows; see --limit.")

    def _evict(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        done = self._ask(lambda inspector: inspector.evict(target))
        self.stdout.write("Evicted." if done else "It was not active.")

    def _abort(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        done = self._ask(lambda inspector: inspector.abort(target))
        self.stdout.write("Aborted." if done else "It was not active.")

    def _rerun(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        done = self._ask(lambda inspector: inspector.rerun(target))
        self.stdout.write("Its alarm runs." if done else "No alarm of it was given up.")

    def _export(self, options: dict[str, Any]) -> None:
        target, file = find_object(options["class_key"], options["name"]), options["file"].absolute()
        size = self._ask(lambda inspector: inspector.export(target, file))
        self.stdout.write(f"Exported {size} bytes to {file}.")

    def _import(self, options: dict[str, Any]) -> None:
        target, file = find_object(options["class_key"], options["name"]), options["file"].absolute()
        if not file.is_file():
            raise CommandError(f"there is no file {file}")
        replace = options["replace"]
        size = self._ask(lambda inspector: inspector.import_file(target, file, replace=replace))
        self.stdout.write(f"Imported {size} bytes.")

    def _delete(self, options: dict[str, Any]) -> None:
        target = find_object(options["class_key"], options["name"])
        done = self._ask(lambda inspector: inspector.delete(target))
        self.stdout.write("Deleted." if done else "It stored nothing.")

    def _backup(self, options: dict[str, Any]) -> None:
        self._copies().backup(options)

    def _restore(self, options: dict[str, Any]) -> None:
        self._copies().restore(options)

    def _verify(self, options: dict[str, Any]) -> None:
        self._copies().verify(options)

    def _copies(self) -> CopyCommands:
        return CopyCommands(self._ask, self.stdout, self.stderr)

    def _transfer(self, options: dict[str, Any]) -> None:
        target, worker = find_object(options["class_key"], options["name"]), options["worker"]
        done = self._ask(lambda inspector: inspector.transfer(target, worker))
        self.stdout.write("Transferred." if done else "It is there already.")

    def _drain(self, options: dict[str, Any]) -> None:
        self._ask(lambda inspector: inspector.drain(options["worker"]))
        self.stdout.write("Drained.")

    def _troubles(self, options: dict[str, Any]) -> None:
        key = options["class_key"]
        if key is not None:
            find_class(key)
        found = list_troubles(key, limit=options["limit"])
        if options["json"]:
            self.stdout.write(json.dumps([trouble.document() for trouble in found], ensure_ascii=False))
            return
        for trouble in found:
            self.stdout.write(f"{trouble.class_key:<16} {_name(trouble):<32} {_ailment(trouble)}")
        if not found:
            self.stderr.write("Nothing is wrong with any object, as far as their workers have seen.")

    def _redeploy(self, options: dict[str, Any]) -> None:
        redeploy(options, self.stdout)

    def _workers(self, options: dict[str, Any]) -> None:
        workers = self._ask(lambda inspector: inspector.workers())
        if options["json"]:
            self.stdout.write(json.dumps(workers))
            return
        for worker in workers:
            self.stdout.write(
                f"{worker['worker']}  {worker['host']}  pid {worker['pid']:<8} {worker['state']:<9}"
                f"{worker['objects']:>7} objects  code {worker['code'] or '?'}"
            )

    def _ask(self, question: Callable[[Inspector], Coroutine[Any, Any, T]]) -> T:
        """Put a question to the running service."""
        try:
            attach_to_redis()
        except ServiceError as error:
            raise CommandError(str(error)) from None
        return ask(shell_user(), question)


def _target(parser: CommandParser) -> None:
    parser.add_argument("class_key", metavar="Class")
    parser.add_argument("name", metavar="NAME")


def _worker(parser: CommandParser) -> None:
    parser.add_argument("worker", metavar="WORKER", help="its id, the beginning of that, or its process id")


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1,000,000")
    return int(text)


def _json(text: str, kind: type[T], usage: str) -> T:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise CommandError(usage, returncode=2) from None
    if not isinstance(value, kind):
        raise CommandError(usage, returncode=2)
    return value


def _row(record: Record) -> str:
    """One line of a list; a name is written so that it cannot break the line."""
    name = _name(record)
    at = record.last_active_at.isoformat(sep=" ", timespec="seconds")
    return f"{record.class_key:<16} {name:<32} {record.id[:12]}…  {record.storage_bytes:>10} bytes  {at}"


def _name(record: Record | TroubleRecord) -> str:
    return f"({record.id[:12]}…)" if record.name is None else _printable(record.name)


def _ailment(trouble: TroubleRecord) -> str:
    at = trouble.last_at.isoformat(sep=" ", timespec="seconds")
    return f"{trouble.kind:<10} {trouble.times:>4} times, last {at}: {_printable(trouble.message)}"


def _lines(shown: Shown) -> list[tuple[str, str]]:
    owner = shown["owner"]
    texts = {
        **shown,
        "owner": "none" if owner is None else f"{owner['worker']} (pid {owner['pid']} on {owner['host']})",
        "sockets_list": None,
        "troubles": "; ".join(f"{one['kind']}: {one['message']}" for one in shown["troubles"]) or None,
    }
    return [(name, _printable(str(text))) for name, text in texts.items() if text is not None]


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
