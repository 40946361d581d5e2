"""What a command tells while it works: on a terminal how far it is, elsewhere nothing."""

import io
from types import SimpleNamespace

import pytest
from django.core.management.base import OutputWrapper

from durable.identity import id_from_name
from durable.management import backups
from durable.management.backups import Problems, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(out: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is written while 30 objects are done in three seconds."""
    seconds = iter([0.0, 1.0, 1.1, 3.0])
    monkeypatch.setattr(backups, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    progress = Progress(OutputWrapper(out), "copied")
    for _ in range(3):
        progress.add(10)
    progress.end()
    return out.getvalue()


def test_a_terminal_sees_the_count_and_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(Terminal(), monkeypatch) == "\r10 copied, 10/s \r30 copied, 10/s \n"


def test_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(io.StringIO(), monkeypatch) == ""


def test_a_document_lists_a_bounded_number_of_problems() -> None:
    out = io.StringIO()
    problems = Problems(OutputWrapper(out), listed=True)
    target = id_from_name("Lab", "lab")
    for number in range(backups.MOST_LISTED + 5):
        problems.add(target, f"problem {number}")
    assert (problems.count, len(problems.listed or [])) == (backups.MOST_LISTED + 5, backups.MOST_LISTED)
    assert out.getvalue() == ""
