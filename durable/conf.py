"""The runtime's settings: one frozen dataclass, read once from Django's `settings.DURABLE`."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from durable.cluster.redis import check_url
from durable.runtime.memory import machine_bytes

MIB = 1024 * 1024
LEAST_WORKER_MEMORY = 256 * MIB  # by default; a worker without objects has some 100 MiB
MOST_DAYS = 36_500  # a hundred years: what is longer leaves the calendar
_MAY_BE_0 = ("trusted_proxy_count", "worker_memory", "worker_memory_limit")


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableSettings:
    """Everything about the runtime that an operator may change. Times are in seconds, sizes in bytes."""

    # --- Where things are

    data_dir: Path
    """The volume: objects' files, the embedded Redis and generated secrets. One directory belongs to one service."""

    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://` address of Redis. None: `serve` and `runserver` start an embedded one."""

    # --- Processes of `manage.py serve`

    gateways: int = field(default_factory=lambda: max(1, _processors() // 2))
    """Gateway processes, which hold sockets and parse HTTP. Default: half of the processors."""

    workers: int = field(default_factory=lambda: max(2, _processors() // 2))
    """Worker processes, which own objects. Default: half of the processors, and two so that one can take over."""

    sync_threads: int = 4
    """Threads of a worker that wait for the disk, where the kernel does not do it by itself. More help only where one sync takes milliseconds."""

    journal: bool = True
    """Objects of a worker that wait for the disk together are made durable by one sync, of the worker's journal."""

    drain_seconds: float = 30.0
    """How long a draining process lets running events finish. The service as a whole stops within 30 seconds, whatever this says."""

    # --- Ownership

    lease_ttl: float = 10.0
    """Life of a worker's session in Redis. A worker that fell silent loses its objects after this time."""

    lease_renew: float = 3.0
    """Time between renewals of the session."""

    lease_margin: float = 1.0
    """A worker releases nothing in the last part of its session, so that drifting clocks cannot overlap owners."""

    # --- Objects; a class can override the first four by attributes of the same meaning

    idle_seconds: float = 10.0
    """An object without events for this long is evicted from memory."""

    event_timeout: float = 30.0
    """An event running longer is cancelled and rolled back."""

    max_queue: int = 1000
    """Events waiting for one object, and `@concurrent` ones running in it; more are refused with `OverloadedError`."""

    max_sockets: int = 32_768
    """Sockets one object may hold."""

    blocking_notice: float = 1.0
    """A handler that keeps the loop this long without waiting is named in the log, with its stack."""

    blocking_limit: float = 5.0
    """A handler that keeps the loop this long is interrupted and rolled back: nothing else in its worker could run."""

    blocking_grace: float = 5.0
    """A handler that cannot be interrupted costs its worker the life after so much longer; the others go on."""

    statement_timeout: float = 1.0
    """One SQL statement running longer is interrupted."""

    max_database_bytes: int = 1024 * MIB
    """Size of one object's database; a write beyond it fails with `StorageLimitError`. Deleting makes room again."""

    max_alarms: int = 100
    """Alarms that run in one worker at the same time; more that are due wait their turn."""

    max_queue_bytes: int = 64 * MIB
    """Bytes of events waiting for one object, and of `@concurrent` ones running in it."""

    max_message_bytes: int = 32 * MIB
    """Size of one call's arguments or result."""

    max_active: int = 10_000
    """Objects in the memory of one worker. Beyond it idle ones are evicted, then new ones are refused."""

    worker_memory: int = 0
    """From here on a worker refuses new objects; before, it evicts idle ones. 0: together they get 60 % of the machine's."""

    worker_memory_limit: int = 0
    """From here on a handler that takes more memory is interrupted. 0: half as much again as `worker_memory`."""

    # --- Backups

    backup_every: float | None = 3600.0
    """An object is copied when its first change that no copy has is this old. None: only when an operator asks."""

    backup_keep: int = 5
    """The newest copies of an object that are kept, however old they are."""

    backup_keep_days: int = 14
    """For so many days, at most 36,500, the last copy of each day is kept too, and the copies of an object that was deleted."""

    backup_storage: str = "durable_backups"
    """The name in Django's STORAGES of the storage that copies are put into."""

    # --- Gateways

    park_seconds: float = 30.0
    """How long a call waits at the gateway while its object moves."""

    max_parked: int = 10_000
    """Calls one gateway lets wait for moving objects."""

    max_socket_buffer: int = 4 * MIB
    """Bytes a gateway buffers for a client that reads slowly, before it closes the socket with 1013."""

    ping_seconds: float = 20.0
    """Time between pings to a client; one that does not answer within the same time is gone."""

    api_auth: Literal["open", "token"] = "token"
    """`open` lets anybody use counters and limiters. Objects and policies always need a token or a staff session."""

    api_scopes: tuple[str, ...] = ("objects",)
    """Scopes that an API token can have: "objects", and one for each app with endpoints of its own."""

    trusted_proxy_count: int = 0
    """Proxies in front whose `X-Forwarded-For` entries are believed, counted from the right."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the field."""
        try:
            object.__setattr__(self, "data_dir", Path(self.data_dir).expanduser().absolute())
        except RuntimeError:
            raise _refuse("data_dir", f"has a home directory that there is not: {self.data_dir}") from None
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type is int and (isinstance(value, bool) or not isinstance(value, int)):
                raise _refuse(item.name, f"must be a whole number; it is {value!r}")
            if item.type is float and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise _refuse(item.name, f"must be a number of seconds; it is {value!r}")
            if item.type not in (int, float):
                continue
            if value < 0 and item.name in _MAY_BE_0:
                raise _refuse(item.name, f"must be 0 or more; it is {value!r}")
            if value <= 0 and item.name not in _MAY_BE_0:
                raise _refuse(item.name, f"must be above 0; it is {value!r}")
        if self.worker_memory == 0:
            share = machine_bytes() * 6 // 10 // self.workers
            object.__setattr__(self, "worker_memory", max(LEAST_WORKER_MEMORY, share))
        if self.worker_memory_limit == 0:
            object.__setattr__(self, "worker_memory_limit", self.worker_memory * 3 // 2)
        if self.worker_memory_limit < self.worker_memory:
            raise _refuse("worker_memory_limit", f"must not be below worker_memory ({self.worker_memory})")
        if self.api_auth not in ("open", "token"):
            raise _refuse("api_auth", f"must be 'open' or 'token'; it is {self.api_auth!r}")
        every: Any = self.backup_every
        if every is not None and (
            isinstance(every, bool) or not isinstance(every, int | float) or every <= 0
        ):
            raise _refuse("backup_every", f"must be a number of seconds above 0, or None; it is {every!r}")
        if every is not None and not every <= MOST_DAYS * 86_400:
            raise _refuse(
                "backup_every", f"must be at most {MOST_DAYS * 86_400}, a hundred years; it is {every!r}"
            )
        if self.backup_keep_days > MOST_DAYS:
            raise _refuse(
                "backup_keep_days",
                f"must be at most {MOST_DAYS}, a hundred years; it is {self.backup_keep_days!r}",
            )
        if self.redis_url is not None:
            try:
                check_url(self.redis_url)
            except ValueError as error:
                raise _refuse("redis_url", f"(REDIS_URL) cannot be used: {error}") from None
        if self.lease_margin >= self.lease_ttl:
            raise _refuse(
                "lease_margin", f"must be below lease_ttl ({self.lease_ttl}); it is {self.lease_margin}"
            )
        if self.lease_renew * 2 > self.lease_ttl - self.lease_margin:
            raise _refuse(
                "lease_renew",
                f"must leave room for one failed renewal: at most half of lease_ttl - lease_margin "
                f"({(self.lease_ttl - self.lease_margin) / 2}); it is {self.lease_renew}",
            )
        if self.statement_timeout > self.event_timeout:
            raise _refuse("statement_timeout", f"must not exceed event_timeout ({self.event_timeout})")
        if self.max_message_bytes > self.max_queue_bytes:
            raise _refuse("max_message_bytes", f"must not exceed max_queue_bytes ({self.max_queue_bytes})")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "DurableSettings":
        """Make settings from a mapping of field names; an unknown name is refused with the nearest known one."""
        known = {item.name for item in fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name).lower(), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ImproperlyConfigured(f"DURABLE has no setting {name!r}{hint}")
        if "data_dir" not in values:
            raise _refuse("data_dir", "is required")
        return cls(**values)


def _refuse(name: str, problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"DURABLE[{name!r}] {problem}")


@cache
def durable_settings() -> DurableSettings:
    """The settings of this process. Read once; `override_settings(DURABLE=...)` in a test is noticed."""
    return DurableSettings.from_mapping(cast("Mapping[str, Any]", settings.DURABLE))


def _forget(*, setting: str, **_: object) -> None:
    if setting == "DURABLE":
        durable_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="durable.conf")
