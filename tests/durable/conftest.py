"""The behaviour that tests give to their objects ends with the test."""

from collections.abc import Iterator

import pytest

from tests.durable.lab import HOOKS, STEPS


@pytest.fixture(autouse=True)
def _plain_lab() -> Iterator[None]:
    yield
    HOOKS.clear()
    STEPS.clear()
