"""Logs: one JSON object a line in production, from both kinds of logger, with the traceback inside."""

import json
import subprocess
import sys

PROGRAM = """
import logging, logging.config, structlog
from project.logs import logging_config
logging.config.dictConfig(logging_config(console={console}))
structlog.get_logger("durable.worker").info("evicted", object="Room(a)", seconds=10)
logging.getLogger("durable.gateway").warning("%s failed", "x", extra={{"color_message": "x", "object": "Room(b)"}})
logging.getLogger("uvicorn.error").info("hidden")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("django.request").exception("broken")
"""


def lines(*, console: bool) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(console=console)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stderr.splitlines()


def test_production_logs_one_json_object_a_line() -> None:
    first, second, third = [json.loads(line) for line in lines(console=False)]
    assert first["timestamp"].endswith("Z")
    assert first.items() >= {
        "event": "evicted", "object": "Room(a)", "seconds": 10, "level": "info", "logger": "durable.worker"
    }.items()  # fmt: skip
    assert second.items() >= {"event": "x failed", "object": "Room(b)", "level": "warning"}.items()
    assert "color_message" not in second
    assert third["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "locals" not in json.dumps(third["exception"][0]["frames"][0])


def test_development_logs_are_for_reading() -> None:
    text = "\n".join(lines(console=True))
    assert "evicted" in text
    assert "ZeroDivisionError" in text
    assert not text.startswith("{")
