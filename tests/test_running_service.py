"""The real service starts and stops as told."""

import signal
import time
from pathlib import Path

import pytest

from tests.running_service import running_service

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def test_an_ordered_stop_is_quick_and_ends_every_process(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            assert len(service.worker_pids()) == len(service.gateway_pids()) == 2
            service.create_room("To be there")
            begun = time.monotonic()
            assert service.stop(number) == 0, service.log()
            assert time.monotonic() - begun < 4, service.log()
            service.start()
