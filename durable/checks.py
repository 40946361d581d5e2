"""What `manage.py check` finds wrong with object classes: each finding has an id and says what to type."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Advice
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections, router

from durable.conf import durable_settings
from durable.models import ObjectRecord
from durable.runtime.namespace import Stub
from durable.runtime.objects import HOOKS, DurableObject, is_concurrent
from durable.runtime.registry import Registry, registry
from durable.runtime.signatures import unchecked

_ALIKE, _LONG_ALIKE = 0.85, 0.9  # of difflib's ratio, for hooks of one word and of several
_ONE_WORD = 5  # letters; names that only go on behind such a hook's (`alarms`) are somebody's own
_SYNONYMS = {
    "websocketopen": "web_socket_connect",
    "websocketdisconnect": "web_socket_close",
    "websocketreceive": "web_socket_message",
    "onmessage": "web_socket_message",
    "onconnect": "web_socket_connect",
    "ondisconnect": "web_socket_close",
    "onclose": "web_socket_close",
}
_LIMITS = ("event_timeout", "idle_seconds", "max_sockets", "max_queue")


def check_classes(**_: Any) -> list[CheckMessage]:
    """Hooks, methods and attributes of all object classes (durable.E001 to E005, E007, E010, W011)."""
    return [message for _, kind in registry for message in check_class(kind)] + check_keys(registry)


def check_class(kind: type[DurableObject]) -> list[CheckMessage]:
    """The findings about one class."""
    return [*_check_members(kind), *_check_attributes(kind)]


def _check_members(kind: type[DurableObject]) -> Iterator[CheckMessage]:
    members: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        if parent is not DurableObject and issubclass(parent, DurableObject):
            members.update(vars(parent))
    for name, member in members.items():
        if isinstance(member, staticmethod | classmethod):
            continue
        if name in HOOKS:
            yield from _check_hook(kind, name, member)
        elif inspect.isfunction(member) and not name.startswith("_"):
            meant = nearest_hook(name)
            if meant is not None:
                yield _error(
                    2,
                    f"{kind.__qualname__}.{name} looks like a misspelt hook: the runtime never runs it.",
                    f"Rename it: `{_declaration(meant)}`. If it is a method of your own, give it another name, or set "
                    'SILENCED_SYSTEM_CHECKS = ["durable.E002"].',
                    kind,
                )
            elif not inspect.iscoroutinefunction(member) and not hasattr(DurableObject, name):
                wrong = "an async generator" if inspect.isasyncgenfunction(member) else "not `async def`"
                yield _error(
                    1,
                    f"{kind.__qualname__}.{name} is public but {wrong}, so nobody can call it.",
                    f"Write `async def {name}(...)` that returns its result, or rename it to `_{name}` if only the class itself uses it.",
                    kind,
                )
            elif name in dir(Stub):
                yield _error(
                    1,
                    f"{kind.__qualname__}.{name} is public, but a stub's own {name!r} hides it, so nobody can call it.",
                    f"Give it another name: `async def get_{name}(...)`, for example.",
                    kind,
                )
            elif inspect.iscoroutinefunction(member):
                yield from _check_annotations(kind, name, member)


def _check_annotations(kind: type[DurableObject], name: str, member: Any) -> Iterator[CheckMessage]:
    for parameter, reason in unchecked(member).items():
        what = "result" if parameter == "return" else f"parameter {parameter!r}"
        yield Advice(
            f"{kind.__qualname__}.{name}: the annotation of its {what} cannot be used at run time ({reason}): values are not "
            "checked, and a struct or dataclass comes as a plain dict or list.",
            hint="Import what it names outside `if TYPE_CHECKING:`; give the structs of a union `tag=True`, and the members of a "
            "struct or dataclass types that can travel. Or write `Any`.",
            obj=_path(kind),
            id="durable.W011",
        )


def _check_hook(kind: type[DurableObject], name: str, member: Any) -> Iterator[CheckMessage]:
    if not inspect.iscoroutinefunction(member):
        hint = f"Write `{_declaration(name)}`."
        yield _error(3, f"The hook {kind.__qualname__}.{name} is not `async def`.", hint, kind)
        return
    if is_concurrent(member) and name != "fetch":
        message = f"The hook {kind.__qualname__}.{name} is marked @concurrent, but runs like any other event."
        yield _error(
            10, message, "Take the mark away: of the hooks only `fetch` can run beside others.", kind
        )
    expected = inspect.signature(getattr(DurableObject, name)).parameters
    try:
        inspect.signature(member).bind(*expected)
    except TypeError as error:
        message = f"The hook {kind.__qualname__}.{name} cannot be run with its arguments: {error}."
        yield _error(4, message, f"Write `{_declaration(name)}`.", kind)


def nearest_hook(name: str) -> str | None:
    """The hook that somebody who wrote `name` has probably meant, or None."""
    plain = _plain(name)
    if plain in _SYNONYMS:
        return _SYNONYMS[plain]
    for hook in sorted(HOOKS):
        meant = _plain(hook)
        alike = difflib.SequenceMatcher(None, meant, plain).ratio()
        if (
            plain in (meant, f"on{meant}")
            or sorted(plain) == sorted(meant)
            or (len(meant) > _ONE_WORD and alike >= _LONG_ALIKE)
            or (len(meant) <= _ONE_WORD and alike >= _ALIKE and not plain.startswith(meant))
        ):
            return hook
    return None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _declaration(hook: str) -> str:
    parameters = ", ".join(inspect.signature(getattr(DurableObject, hook)).parameters)
    return f"async def {hook}({parameters})"


def _check_attributes(kind: type[DurableObject]) -> Iterator[CheckMessage]:
    def wrong(name: str, must: str, hint: str) -> CheckMessage:
        value = getattr(kind, name)
        return _error(7, f"{kind.__qualname__}.{name} must be {must}; it is {value!r}.", hint, kind)

    if kind.durability not in ("strict", "relaxed"):
        yield wrong("durability", '"strict" or "relaxed"', 'Write `durability = "strict"`, or leave it out.')
    backup: Any = kind.backup
    if not isinstance(backup, bool):
        yield wrong("backup", "True or False", "Write `backup = False`, or leave it out.")
    words: Any = kind.web_socket_error
    if words is not None and not isinstance(words, str):
        hint = 'Write `web_socket_error = \'{"type": "error"}\'`, for example, or leave it out.'
        yield wrong("web_socket_error", "a text", hint)
    for name in _LIMITS:
        value = getattr(kind, name)
        kinds = (int,) if name.startswith("max_") else (int, float)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool) or not value > 0):
            must = "a whole number above 0" if kinds == (int,) else "a number of seconds above 0"
            yield wrong(name, must, f"Write `{name} = 10`, for example, or leave it out.")
    steps: Any = kind.migrations
    if not isinstance(steps, list | tuple) or not all(
        isinstance(step, str) or callable(step) for step in steps
    ):
        hint = (
            'Write `migrations = ["CREATE TABLE ..."]`: new steps go to the end, old ones stay as they are.'
        )
        yield wrong("migrations", "a list of SQL texts and functions", hint)
    elif any(inspect.iscoroutinefunction(step) for step in steps):
        hint = "Write `def`, and call no other object: migrations run in one commit, without a wait."
        yield wrong("migrations", "a list of SQL texts and functions that are not `async def`", hint)


def check_keys(classes: Registry) -> list[CheckMessage]:
    """Two classes of one key (durable.E005)."""
    return [
        _error(
            5,
            f"{_path(first)} and {_path(second)} both have the key {key!r}: their objects would be the same ones.",
            f'Write `key = "{key}2"`, for example, in the one that has no objects yet.',
            second,
        )
        for key, first, second in classes.duplicates
    ]


def check_settings(**_: Any) -> list[CheckMessage]:
    """`settings.DURABLE` (durable.E008), and the storage that it names (durable.E009)."""
    try:
        conf = durable_settings()
    except ImproperlyConfigured as error:
        message = f"settings.DURABLE cannot work: {error}."
        return [_error(8, message, "Correct that entry of DURABLE; durable/conf.py describes each of them.")]
    if conf.backup_every is not None and conf.backup_storage not in settings.STORAGES:
        message = f"Objects cannot be backed up: settings.STORAGES has no {conf.backup_storage!r}."
        hint = 'Add that storage, as docs/backups.md shows, or set DURABLE["backup_every"] = None.'
        return [_error(9, message, hint)]
    return []


def check_stored_classes(**_: Any) -> list[CheckMessage]:
    """Classes that have stored objects but no code (durable.W006). Says nothing where there is no catalog to ask.

    A warning, since an error would keep `makemigrations` and `migrate` from doing what it asks for.
    """
    known = {key for key, _ in registry}
    return [
        Advice(
            f"There are stored objects of the class {key!r}, but no code for it.",
            hint=f'If you renamed the class, write `key = "{key}"` in it. If its objects should go, add a migration with '
            f'`operations = [durable.operations.DeleteObjectClass("{key}")]`. If it is in an app, add that app to '
            "INSTALLED_APPS.",
            id="durable.W006",
        )
        for key in _stored()
        if key not in known
    ]


def _stored() -> list[str]:
    """The keys of classes that have rows in the catalog, each found with one look at the index."""
    connection = connections[router.db_for_read(ObjectRecord)]
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and connection.connection is None and not Path(name).exists():
        return []  # a check makes no database
    rows = ObjectRecord.objects.order_by("class_key").values_list("class_key", flat=True)
    found: list[str] = []
    try:
        key = rows.first()
        while key is not None:
            found.append(key)
            key = rows.filter(class_key__gt=key).first()
    except DatabaseError:
        return []  # not migrated, or not reachable: other commands say so
    return found


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _error(number: int, message: str, hint: str, kind: type | None = None) -> CheckMessage:
    return Error(message, hint=hint, obj=None if kind is None else _path(kind), id=f"durable.E{number:03}")
