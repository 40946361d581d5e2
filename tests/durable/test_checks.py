"""`manage.py check` names what is wrong with an object class, and says what to type."""

import importlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import override_settings

from durable import DurableObject, concurrent
from durable.checks import check_class, check_keys, check_settings, check_stored_classes, nearest_hook
from durable.models import ObjectRecord, moment
from durable.runtime.objects import HOOKS
from durable.runtime.registry import Registry


def findings(kind: type[DurableObject]) -> list[tuple[str | None, str, str | None]]:
    return [(found.id, found.msg, found.hint) for found in check_class(kind)]


def test_a_sound_class_passes() -> None:
    class Sound(DurableObject, abstract=True):
        max_queue = 5
        event_timeout = 0.5

        async def start(self) -> None: ...
        async def web_socket_message(self, socket: Any, text: Any) -> None: ...
        async def restart(self) -> None: ...
        async def alarms(self) -> None: ...
        def _private(self) -> None: ...
        @staticmethod
        def parse(text: str) -> str:
            return text

        @property
        def size(self) -> int:
            return 0

    assert findings(Sound) == []


def test_a_public_method_that_nobody_could_call() -> None:
    class Sync(DurableObject, abstract=True):
        def total(self) -> int:
            return 0

    [(number, message, hint)] = findings(Sync)
    assert number == "durable.E001"
    assert "Sync.total is public but not `async def`" in message
    assert "`async def total(...)`" in str(hint)
    assert "`_total`" in str(hint)


def test_a_method_that_the_stub_hides() -> None:
    class Hidden(DurableObject, abstract=True):
        async def id(self) -> str:
            return "mine"

    assert Hidden.namespace.get_by_name("x").id != Hidden.id  # the object's id
    [(number, message, hint)] = findings(Hidden)
    assert number == "durable.E001"
    assert "a stub's own 'id' hides it" in message
    assert "`async def get_id(...)`" in str(hint)


def test_a_public_generator_is_no_method() -> None:
    class Yielding(DurableObject, abstract=True):
        async def pages(self) -> AsyncIterator[int]:
            yield 1

    [(number, message, _)] = findings(Yielding)
    assert number == "durable.E001"
    assert "an async generator" in message


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("web_socket_mesage", "web_socket_message"),
        ("websocket_message", "web_socket_message"),
        ("webSocketMessage", "web_socket_message"),
        ("web_socket_closed", "web_socket_close"),
        ("web_socket_disconnect", "web_socket_close"),
        ("web_socket_conect", "web_socket_connect"),
        ("web_sokcet_resume", "web_socket_resume"),
        ("on_message", "web_socket_message"),
        ("on_alarm", "alarm"),
        ("alram", "alarm"),
        ("alrm", "alarm"),
        ("strat", "start"),
        ("fecth", "fetch"),
    ],
)
def test_a_misspelt_hook(written: str, meant: str) -> None:
    async def method(self: Any) -> None: ...

    kind = type("Misspelt", (DurableObject,), {written: method}, abstract=True)
    [(number, message, hint)] = findings(kind)
    assert number == "durable.E002"
    assert f"Misspelt.{written} looks like a misspelt hook" in message
    assert f"Rename it: `async def {meant}(self" in str(hint)


@pytest.mark.parametrize(
    "name",
    [
        "restart",
        "state",
        "smart",
        "alarms",
        "alert",
        "starts_at",
        "fetch_all",
        "web_socket_count",
        "message",
        "close",
    ],
)
def test_a_method_of_its_own_is_no_misspelt_hook(name: str) -> None:
    assert nearest_hook(name) is None


def test_a_hook_that_is_not_async() -> None:
    class Sync(DurableObject, abstract=True):
        def alarm(self, info: Any) -> None:  # type: ignore[override]
            ...

    assert findings(Sync) == [
        (
            "durable.E003",
            f"The hook {Sync.__qualname__}.alarm is not `async def`.",
            "Write `async def alarm(self, info)`.",
        )
    ]


def test_a_hook_that_cannot_be_concurrent() -> None:
    class Marked(DurableObject, abstract=True):
        @concurrent
        async def fetch(self, request: Any) -> Any: ...

        @concurrent
        async def web_socket_message(self, ws: Any, message: Any) -> None: ...

    [(number, message, hint)] = findings(Marked)
    assert number == "durable.E010"
    assert "Marked.web_socket_message is marked @concurrent" in message
    assert "only `fetch`" in str(hint)


def test_a_hook_with_other_arguments() -> None:
    class Short(DurableObject, abstract=True):
        async def web_socket_close(self, ws: Any) -> None:  # type: ignore[override]
            ...

    [(number, message, hint)] = findings(Short)
    assert number == "durable.E004"
    assert "web_socket_close cannot be run with its arguments" in message
    assert hint == "Write `async def web_socket_close(self, ws, code, reason, was_clean)`."


def test_every_hook_can_be_declared() -> None:
    assert all(hasattr(DurableObject, name) for name in HOOKS)


class Cat(msgspec.Struct):
    """Has no tag."""


class Dog(msgspec.Struct):
    """Has none either."""


@dataclass
class Parcel:
    """Holds anything."""

    content: object


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("Missing", "name 'Missing' is not defined"),
        ("list[Missing] | None", "name 'Missing' is not defined"),
        (Cat | Dog, "must be tagged"),
        (list[Cat | Dog], "must be tagged"),
        (Parcel, "it holds what is no plain value"),
        (Parcel | None, "it holds what is no plain value"),
    ],
)
def test_an_annotation_that_cannot_be_used_at_run_time(annotation: Any, reason: str) -> None:
    async def take(self: Any, count: int, thing: Any) -> Any: ...

    take.__annotations__ |= {"thing": annotation, "return": annotation}
    for_thing, for_result = findings(type("Odd", (DurableObject,), {"take": take}, abstract=True))
    for number, message, hint in (for_thing, for_result):
        assert number == "durable.W011"
        assert reason in message
        assert "`tag=True`" in str(hint)
    assert "Odd.take: the annotation of its parameter 'thing'" in for_thing[1]
    assert "Odd.take: the annotation of its result" in for_result[1]


@pytest.mark.parametrize(
    "annotation",
    [Any, object, None, Cat, Cat | None, dict[tuple[int, int], str], Callable[[], int], TypeVar("T")],
)
def test_an_annotation_that_loses_nothing_is_no_finding(annotation: Any) -> None:
    async def take(self: Any, thing: Any) -> Any: ...

    take.__annotations__ |= {"thing": annotation, "return": annotation}
    assert findings(type("Sound", (DurableObject,), {"take": take}, abstract=True)) == []


def test_two_classes_of_one_key() -> None:
    class First(DurableObject, abstract=True):
        key = "Twin"

    class Second(DurableObject, abstract=True):
        key = "Twin"

    classes = Registry()
    classes.add(First)
    classes.add(Second)
    [found] = check_keys(classes)
    assert found.id == "durable.E005"
    assert "First" in found.msg
    assert "Second" in found.msg
    assert 'key = "Twin2"' in str(found.hint)


@pytest.mark.django_db
def test_stored_objects_of_a_class_whose_migration_is_missing() -> None:
    assert check_stored_classes() == []
    for key in ("Gone", "Gone", "Counter"):
        ObjectRecord.objects.create(
            class_key=key,
            object_id=f"{ObjectRecord.objects.count():064x}",
            created_at=moment(0),
            last_active_at=moment(0),
        )
    [found] = check_stored_classes()
    assert found.id == "durable.W006"
    assert "'Gone'" in found.msg
    assert 'durable.operations.DeleteObjectClass("Gone")' in str(found.hint)
    assert 'key = "Gone"' in str(found.hint)
    assert found in run_checks()
    call_command(
        "migrate", verbosity=0
    )  # it is a warning: the migration that it asks for can be made and run


async def _wait(ctx: Any) -> None:
    """No migration."""


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("durability", "lax", '"strict" or "relaxed"'),
        ("max_sockets", 0, "a whole number above 0"),
        ("max_queue", 1.5, "a whole number above 0"),
        ("event_timeout", -1, "a number of seconds above 0"),
        ("idle_seconds", "10", "a number of seconds above 0"),
        ("migrations", "CREATE TABLE t (x)", "a list of SQL texts"),
        ("event_timeout", float("nan"), "a number of seconds above 0"),
        ("web_socket_error", {"type": "error"}, "a text"),
        ("migrations", None, "a list of SQL texts"),
        ("migrations", {"CREATE TABLE t (x)", "CREATE TABLE u (x)"}, "a list of SQL texts"),  # in no order
        ("migrations", (text for text in ["CREATE TABLE t (x)"]), "a list of SQL texts"),  # can be read once
        ("migrations", [_wait], "a list of SQL texts and functions that are not `async def`"),
    ],
)
def test_attributes_out_of_range(attribute: str, value: Any, said: str) -> None:
    kind = type("Odd", (DurableObject,), {attribute: value}, abstract=True)
    [(number, message, hint)] = findings(kind)
    assert number == "durable.E007"
    assert f"Odd.{attribute} must be {said}" in message
    assert repr(value) in message
    assert hint


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"wrokers": 2}, {"lease_margin": 99.0}])
def test_settings_out_of_range(wrong: dict[str, Any], tmp_path: Any) -> None:
    with override_settings(DURABLE={"data_dir": tmp_path, **wrong}):
        [found] = check_settings()
    assert found.id == "durable.E008"
    assert next(iter(wrong)) in found.msg
    assert found.hint
    assert check_settings() == []


def test_a_storage_for_backups_that_is_missing(tmp_path: Any) -> None:
    with override_settings(DURABLE={"data_dir": tmp_path, "backup_storage": "nowhere"}):
        [found] = check_settings()
        assert (found.id, "nowhere" in found.msg) == ("durable.E009", True)
    with override_settings(DURABLE={"data_dir": tmp_path, "backup_storage": "nowhere", "backup_every": None}):
        assert check_settings() == []


def test_the_classes_of_this_project_are_sound() -> None:
    for app in ("rooms", "counters", "limiter"):
        module = importlib.import_module(f"{app}.objects")
        kinds = [
            item
            for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, DurableObject)
        ]
        assert kinds
        assert [found for kind in kinds for found in check_class(kind)] == []
