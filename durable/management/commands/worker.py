"""`manage.py worker`: one worker process, which owns objects and runs their events."""

import asyncio
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError

from durable.errors import UnavailableError
from durable.service.attach import attach_to_redis
from durable.service.code import code_version
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.lifeline import Lifeline
from durable.service.rundir import runtime_directory
from durable.service.worker_process import run_worker


class Command(BaseCommand):
    help = (
        "Run one worker: it owns objects and runs their events. Needs REDIS_URL, or a service running on the same "
        "DATA_DIR. SIGTERM drains it. For a whole service on one host use `serve`."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        lifeline = Lifeline.inherit()
        try:
            conf = attach_to_redis()
            runtime_dir = runtime_directory(conf.data_dir)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run_worker(conf, str(conf.redis_url), runtime_dir, lifeline, code_version()))
        except ServiceError as error:
            raise CommandError(str(error), returncode=EXIT_REFUSED) from None
        except UnavailableError as error:
            raise CommandError(str(error)) from None
