"""`manage.py runserver`: gateway and worker in one process with autoreload, for development."""

import contextlib
import os
import signal
from typing import Any

from daphne.management.commands.runserver import Command as DaphneRunserver
from django.core.management.base import CommandError
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from durable.conf import durable_settings
from durable.errors import DurableError
from durable.service.attach import attach_to_redis
from durable.service.development import WorkerThread, hold_service, tied_children
from durable.service.errors import ServiceError
from durable.service.lifeline import Lifeline
from durable.service.rundir import runtime_directory


class Command(DaphneRunserver):  # type: ignore[misc]  # daphne has no types
    help = (
        "Run everything in one process for development, with autoreload and, when REDIS_URL is not set, an embedded "
        "Redis. For anything else use `serve`."
    )

    def run(self, **options: Any) -> None:
        """Hold the service in the outer process, so that a reload restarts neither Redis nor the lock."""
        self._worker: WorkerThread | None = None
        try:
            with contextlib.ExitStack() as held:
                if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true":
                    Lifeline.inherit().watch(_end)
                else:
                    held.enter_context(hold_service(durable_settings(), self.addr, int(self.port)))
                    if options["use_reloader"]:
                        held.enter_context(tied_children())
                # Here and not where it starts: the autoreloader leaves by sys.exit in this thread, not in that one.
                held.callback(self._stop_worker)
                super().run(**options)
        except ServiceError as error:
            raise CommandError(str(error)) from None

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve, with a worker beside the web server."""
        try:
            conf = attach_to_redis()
            self._worker = WorkerThread(conf, runtime_directory(conf.data_dir))
            self._worker.start()
        except (ServiceError, DurableError) as error:
            self.stderr.write(f"Error: {error}")
            # As Django does for a busy port: sys.exit means nothing in the autoreloader's thread.
            os._exit(1)
        super().inner_run(*args, **options)

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.stop()


def _end() -> None:
    """End as at SIGTERM: the autoreloader's main thread exits, which stops the worker."""
    os.kill(os.getpid(), signal.SIGTERM)
