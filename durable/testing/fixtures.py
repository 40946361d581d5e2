"""The pytest plugin: `pytest_plugins = ["durable.testing.fixtures"]` in a project's top conftest.py gives its fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from .local import LocalObjects, local_objects


@pytest.fixture
def local_settings() -> dict[str, Any]:
    """Fields of `DurableSettings` that the tests of a module want changed; override this fixture to give some."""
    return {}


@pytest.fixture
async def local(tmp_path: Path, local_settings: dict[str, Any]) -> AsyncIterator[LocalObjects]:
    """Objects in the test's own process, with their files in `tmp_path`."""
    async with local_objects(tmp_path / "objects", **local_settings) as objects:
        yield objects
