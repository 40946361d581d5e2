"""`manage.py serve`: the whole service on one host."""

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.urls import NoReverseMatch, reverse

from durable.cluster.redis import RedisCluster
from durable.conf import durable_settings
from durable.management.arguments import count, port_number
from durable.service.discovery import ServiceRecord
from durable.service.errors import ServiceError
from durable.service.launch import Role
from durable.service.limits import raise_descriptor_limit
from durable.service.supervisor import ServiceOptions, Supervisor


class Command(BaseCommand):
    help = (
        "Run the whole service on this host: gateways, workers and, when REDIS_URL is not set, an embedded Redis. "
        "What dies is started again. SIGHUP replaces the workers one after the other by new ones, with the code that is on disk "
        "then (see `objects redeploy`). Ctrl-C or SIGTERM stops everything in order; a second Ctrl-C at once."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        conf = durable_settings()
        parser.add_argument(
            "--host", default=settings.HOST, help="address to listen on (default: %(default)s)"
        )
        parser.add_argument(
            "--port",
            type=port_number,
            default=settings.PORT,
            help="port, 0 for any free one (default: %(default)s)",
        )
        parser.add_argument(
            "--gateways",
            type=count,
            default=conf.gateways,
            metavar="N",
            help="gateway processes (default: %(default)s)",
        )
        parser.add_argument(
            "--workers",
            type=count,
            default=conf.workers,
            metavar="N",
            help="worker processes (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        conf = durable_settings()
        service = ServiceOptions(
            data_dir=conf.data_dir,
            host=options["host"],
            port=options["port"],
            gateways=options["gateways"],
            workers=options["workers"],
            redis_url=conf.redis_url,
            command=child_command,
            spare=True,
            check=(*this_program(), "check"),
            drain_seconds=conf.drain_seconds,
        )
        raise_descriptor_limit()
        connections.close_all()  # opened by the checks; the supervisor itself needs no database
        try:
            asyncio.run(Supervisor(service, connect=RedisCluster, announce=self._announce).run())
        except ServiceError as error:
            raise CommandError(str(error)) from None

    def _announce(self, record: ServiceRecord) -> None:
        self.stdout.write(f"Durable Rooms is ready on {record.url}")
        with contextlib.suppress(NoReverseMatch):  # a project without the admin
            self.stdout.write(f"Admin: {record.url}{reverse('admin:index')}")
        self.stdout.flush()


def child_command(role: Role, listener: int) -> tuple[str, ...]:
    """The command line of a child: this program again, with another command."""
    own = ["--fd", str(listener)] if role is Role.GATEWAY else []
    return (*this_program(), role.value, *own)


def this_program() -> tuple[str, ...]:
    """The beginning of a command line that runs another management command of the same project."""
    script = Path(sys.argv[0])
    manage = [str(script.absolute())] if script.suffix == ".py" and script.is_file() else ["-m", "django"]
    return (sys.executable, *manage)
