"""What is shown of an object, from the words of its owner, its file and the catalog."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from durable.cluster.redis import WorkerSession
from durable.models import moment

from .copies import Copy
from .records import Record


def file_facts(query: Copy) -> dict[str, Any]:
    """What a file says of its object, in the words of a worker's answer to "show"."""
    name, epoch, created_at, alarm, retries, error = query(
        "SELECT name, epoch, created_at, alarm, alarm_retries, alarm_error FROM _do_meta"
    )[0]
    sockets = query("SELECT id, gateway, tags FROM _do_sockets ORDER BY id LIMIT 100")
    return {
        "name": name,
        "epoch": epoch,
        "created_at": created_at,
        "alarm": alarm,
        "alarm_retries": retries,
        "alarm_error": error,
        "storage_bytes": query("PRAGMA page_count")[0][0] * query("PRAGMA page_size")[0][0],
        "sockets": query("SELECT count(*) FROM _do_sockets")[0][0],
        "sockets_list": [
            {"id": id_, "gateway": gateway, "tags": json.loads(tags)} for id_, gateway, tags in sockets
        ],
    }


def owner_of(session: WorkerSession) -> dict[str, Any]:
    """A worker as an object's owner."""
    return {"worker": session.worker, "pid": session.pid, "host": session.host}


def iso(ms: int | None) -> str | None:
    """A time as ISO 8601."""
    return None if ms is None else moment(ms).isoformat()


def last_active(state: str, facts: dict[str, Any], record: Record | None) -> str | None:
    """When an event last happened, as ISO 8601, as far as that is known."""
    if "idle_seconds" in facts:
        return (datetime.now(UTC) - timedelta(seconds=facts["idle_seconds"])).isoformat()
    return None if record is None or state == "absent" else record.last_active_at.isoformat()
