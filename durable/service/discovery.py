"""How commands and tests find the running service of a data directory: ``DATA_DIR/service.json``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from durable.cluster.processes import ProcessIdentity, is_alive

RECORD_NAME = "service.json"
_VERSION = 1


class ChildRecord(msgspec.Struct, frozen=True):
    """A process that belongs to a service, so that the next one can end what a dead one left behind."""

    name: str
    pid: int
    pid_started: int

    @property
    def identity(self) -> ProcessIdentity:
        """The process that is meant."""
        return ProcessIdentity(self.pid, self.pid_started)


class ServiceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a running service says about itself."""

    pid: int
    """Process id of the supervisor (or of ``runserver``)."""
    pid_started: int
    """Its start time as the system counts it: together with the id it tells whether the record is stale."""
    redis_url: str
    """Where its Redis is, with the credentials: the file is readable by its owner only."""
    runtime_dir: str
    """Where its Unix sockets are."""
    host: str
    port: int
    started: int
    """When it started, in milliseconds since the epoch."""
    ready: bool = False
    """Whether every process has reported ready once."""
    children: tuple[ChildRecord, ...] = ()
    """The processes it runs at the moment."""
    version: int = _VERSION
    """Version of this file's shape."""

    @property
    def identity(self) -> ProcessIdentity:
        """The supervising process."""
        return ProcessIdentity(self.pid, self.pid_started)

    @property
    def url(self) -> str:
        """Where a browser on this machine reaches the service."""
        return local_url(self.host, self.port)


def write_record(data_dir: Path, record: ServiceRecord) -> None:
    """Replace the record in one step, so that a reader sees the old or the new one."""
    path = data_dir / RECORD_NAME
    draft = path.with_name(f".{RECORD_NAME}.{record.pid}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    draft.replace(path)


def remove_record(data_dir: Path) -> None:
    """Take the record away: the service has ended."""
    (data_dir / RECORD_NAME).unlink(missing_ok=True)


def read_last_record(data_dir: Path) -> ServiceRecord | None:
    """The record as it stands, also of a service that is gone; None when there is none that can be read."""
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        record = msgspec.json.decode((data_dir / RECORD_NAME).read_bytes(), type=ServiceRecord)
        if record.version == _VERSION:
            return record
    return None


def find_service(data_dir: Path) -> ServiceRecord | None:
    """The service that runs on ``data_dir`` now, or None: a record whose process is gone does not count."""
    record = read_last_record(data_dir)
    return record if record is not None and is_alive(record.identity) else None


def local_url(host: str, port: int) -> str:
    """The address for a browser on this machine: a wildcard host becomes the loopback one."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
