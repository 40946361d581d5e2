"""How objects that are idle at the same time fall asleep."""

import asyncio

import pytest

from durable.runtime import falling_asleep
from durable.testing import LocalObjects
from tests.durable.lab import do, lab, put

COUNT = 12


async def _most_at_once(local: LocalObjects) -> int:
    """Let all objects become idle; how many of them were closed at the same time, at most."""
    asleep = asyncio.create_task(local.advance(local.conf.idle_seconds))
    most = 0
    while not asleep.done():
        most = max(most, sum(one.leaving for one in local.host.activations.values()))
        await asyncio.sleep(0)
    await asleep
    return most


@pytest.mark.parametrize(("waiting_for_each", "most"), [(256, 1), (4, 3)])
async def test_L2_objects_that_are_idle_together_do_not_fall_asleep_all_at_once(
    local: LocalObjects, monkeypatch: pytest.MonkeyPatch, waiting_for_each: int, most: int
) -> None:
    monkeypatch.setattr(falling_asleep, "WAITING_FOR_EACH", waiting_for_each)
    for number in range(COUNT):
        await do(lab(f"{number}"), put, "n", number)
    assert await _most_at_once(local) == most
    assert not local.host.activations
    assert [await lab(f"{number}").increment() for number in range(COUNT)] == [1] * COUNT


async def test_L2_an_object_that_is_called_while_it_waits_to_fall_asleep_stays_awake(
    local: LocalObjects,
) -> None:
    for number in range(COUNT):
        await lab(f"{number}").increment()
    asleep = asyncio.create_task(local.advance(local.conf.idle_seconds))
    while not local.host.falling_asleep:
        await asyncio.sleep(0)
    assert await lab(f"{COUNT - 1}").increment() == 2
    await asleep
    assert list(local.host.activations) == [str(lab(f"{COUNT - 1}").id)]  # type: ignore[attr-defined]
