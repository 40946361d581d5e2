"""A child's tie to its supervisor."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from durable.service.lifeline import LIFE_VARIABLE, REPORT_VARIABLE, Lifeline, ReadyReport

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys, threading, time
from durable.service.lifeline import Lifeline
lifeline = Lifeline.inherit()
lifeline.watch({on_orphaned}, grace={grace})
lifeline.report_ready("w1")
time.sleep(600)
"""


def run_orphan(on_orphaned: str, grace: float) -> tuple[float, ReadyReport]:
    """Start a child, drop its lifeline; seconds until it ended, and what it had reported."""
    life_reader, life_writer = os.pipe()
    reports, report_writer = os.pipe()
    program = CHILD.format(on_orphaned=on_orphaned, grace=grace)
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, LIFE_VARIABLE: str(life_reader), REPORT_VARIABLE: str(report_writer)},
        pass_fds=(life_reader, report_writer),
    )
    os.close(life_reader)
    os.close(report_writer)
    report = msgspec.json.decode(os.read(reports, 100), type=ReadyReport)
    os.close(reports)
    begun = time.monotonic()
    os.close(life_writer)
    child.wait(10)
    return time.monotonic() - begun, report


def test_an_orphan_may_end_cleanly() -> None:
    seconds, report = run_orphan("lambda: __import__('os')._exit(0)", grace=60)
    assert seconds < 5
    assert report == ReadyReport("w1")


def test_an_orphan_that_is_stuck_is_ended_after_its_grace() -> None:
    seconds, _ = run_orphan("lambda: time.sleep(600)", grace=0.2)
    assert seconds < 5


def test_without_a_supervisor_nothing_is_watched_or_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIFE_VARIABLE, raising=False)
    monkeypatch.delenv(REPORT_VARIABLE, raising=False)
    lifeline = Lifeline.inherit()
    lifeline.watch(lambda: pytest.fail("nobody is orphaned"))
    lifeline.report_ready("w1")


def test_a_grandchild_does_not_inherit_the_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    monkeypatch.setenv(LIFE_VARIABLE, str(reader))
    Lifeline.inherit()
    assert LIFE_VARIABLE not in os.environ
    assert not os.get_inheritable(reader)
    os.close(reader)
    os.close(writer)
