"""`manage.py standby`: a worker process that waits, loaded, until the supervisor needs one."""

import asyncio
from typing import Any

import uvloop
from django.core.management.base import BaseCommand, CommandError

from durable.service.attach import attach_to_redis
from durable.service.code import code_version
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.lifeline import Lifeline
from durable.service.rundir import runtime_directory
from durable.service.worker_process import run_worker


class Command(BaseCommand):
    help = "Wait, loaded, until told to become a worker. Started by `serve`, of no use by hand."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        lifeline = Lifeline.inherit()
        try:
            conf = attach_to_redis()
            runtime_dir = runtime_directory(conf.data_dir)
            code = code_version()  # of what was loaded, whatever is on disk when it is time to go
            if not lifeline.wait_for_go():
                return
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run_worker(conf, str(conf.redis_url), runtime_dir, lifeline, code))
        except ServiceError as error:
            raise CommandError(str(error), returncode=EXIT_REFUSED) from None
