"""`objects redeploy`: has the running service roll the code on disk out, and shows how it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser, OutputWrapper

from durable.conf import durable_settings
from durable.models import AuditEntry
from durable.service.control import Step, ask_for_rollout
from durable.service.discovery import find_service
from durable.service.errors import ServiceError

from .arguments import shell_user


def add_redeploy(actions: Any) -> None:
    """Declare the action."""
    parser: CommandParser = actions.add_parser(
        "redeploy",
        help="replace workers one after the other by new ones with the code on disk; clients notice nothing",
    )
    parser.add_argument(
        "--gateways", action="store_true", help="then the gateways too: their clients come back by themselves"
    )
    parser.add_argument("--json", action="store_true", help="print each step as one JSON object")


def redeploy(options: dict[str, Any], stdout: OutputWrapper) -> None:
    """Carry the action out. Raises CommandError when the new code does not come to serve."""
    service = find_service(durable_settings().data_dir)
    if service is None:
        raise CommandError(f"no service runs on {durable_settings().data_dir}")
    entry = AuditEntry.record(shell_user(), "service.redeploy", gateways=options["gateways"])
    try:
        last = _show(
            ask_for_rollout(Path(service.runtime_dir), gateways=options["gateways"]), options, stdout
        )
    except ServiceError as error:
        last = Step("failed", error.message, error.detail)
    if last.state == "done":
        return
    entry.came_to_nothing(last.message)
    said = f"{last.message}\n{last.detail}" if last.detail and not options["json"] else last.message
    raise CommandError(f"{said}\nWhat ran before goes on.")


def _show(steps: Iterator[Step], options: dict[str, Any], stdout: OutputWrapper) -> Step:
    """Print the steps as they come; the last one."""
    last = Step("failed", "nothing was said")
    for last in steps:
        if options["json"]:
            stdout.write(json.dumps({"state": last.state, "message": last.message, "detail": last.detail}))
        elif last.state != "failed":
            stdout.write(last.message)
        stdout.flush()
    return last
