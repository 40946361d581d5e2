"""Stubs in a project's own commands and shell: they find the service that runs on the data directory."""

import pytest

from tests.running_service import running_service

SCRIPT = """
import asyncio, threading, warnings
from asgiref.sync import async_to_sync
from counters.objects import Counter
warnings.simplefilter("error")
counter = Counter.namespace.get_by_name("from-a-shell")
print(async_to_sync(counter.increment)())
thread = threading.Thread(target=lambda: print(asyncio.run(counter.increment())))
thread.start()
thread.join()
"""


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_a_shell_calls_objects_of_the_running_service(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_service(tmp_path_factory.mktemp("shell"), gateways=1, workers=1) as service:
        printed = service.manage("shell", "-v0", "-c", SCRIPT, REDIS_URL="")
        assert printed.split() == ["1", "2"]
