"""Each test of the suite runs on both grounds: `[local]` and `[processes]`."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.running_service import RunningService, running_service

from .ground import Ground
from .in_process import in_process
from .processes import processes
from .subject.objects import Subject

MakeSubject = Callable[[str], Subject]


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two gateways, a Redis, and workers enough that there are two while one that was killed waits for its restart."""
    directory = tmp_path_factory.mktemp("contract")
    with running_service(directory, workers=3, DJANGO_SETTINGS_MODULE="tests.contract.settings") as running:
        yield running


@pytest.fixture(params=["local", pytest.param("processes", marks=pytest.mark.cluster)])
async def ground(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ground]:
    """Where the test's objects live."""
    if request.param == "local":
        async with in_process(tmp_path) as ground:
            yield ground
    else:
        async with processes(request.getfixturevalue("shared_service")) as ground:
            yield ground


@pytest.fixture
def name() -> str:
    """A name that no other test has used: the beginning of all names of this test."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def subject(ground: Ground, name: str) -> Subject:
    """A fresh object."""
    return Subject.namespace.get_by_name(name)
