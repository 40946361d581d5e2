"""Which copies go: a pure rule."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from durable.backups.retention import outdated

NOW = datetime(2030, 5, 20, 12, tzinfo=UTC)


class Dated(NamedTuple):
    at: datetime


def hourly(hours: int) -> list[Dated]:
    """Newest first, one an hour."""
    return [Dated(NOW - timedelta(hours=hour)) for hour in range(hours)]


def kept(copies: list[Dated], newest: int = 3, days: int = 4) -> list[Dated]:
    gone = outdated(copies, NOW, newest=newest, days=timedelta(days=days))
    return [copy for copy in copies if copy not in gone]


def test_the_newest_stay_and_the_last_of_each_day() -> None:
    found = kept(hourly(24 * 30))
    assert [copy.at for copy in found[:3]] == [NOW - timedelta(hours=hour) for hour in range(3)]
    assert [(copy.at.day, copy.at.hour) for copy in found[3:]] == [(19, 23), (18, 23), (17, 23), (16, 23)]


def test_the_newest_stay_however_old_they_are() -> None:
    old = [Dated(NOW - timedelta(days=400 + day)) for day in range(5)]
    assert kept(old) == old[:3]


def test_a_day_keeps_its_last_copy_only() -> None:
    same_day = [Dated(NOW - timedelta(minutes=minute)) for minute in range(10)]
    assert kept(same_day, newest=1) == same_day[:1]


def test_nothing_goes_while_there_are_few() -> None:
    assert outdated(hourly(3), NOW, newest=3, days=timedelta(days=1)) == []


def test_thinning_again_and_again_keeps_as_much_as_thinning_once() -> None:
    copies: list[Dated] = []
    for hour in range(24 * 10, -1, -1):
        copies.insert(0, Dated(NOW - timedelta(hours=hour)))
        gone = outdated(copies, copies[0].at, newest=3, days=timedelta(days=4))
        copies = [copy for copy in copies if copy not in gone]
    assert copies == kept(hourly(24 * 10 + 1))
