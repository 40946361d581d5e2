"""`manage.py gateway`: one gateway process, which speaks HTTP and WebSockets and owns no object."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string

from durable.gateway.node import nodes
from durable.management.arguments import port_number
from durable.service.attach import attach_to_redis
from durable.service.errors import EXIT_REFUSED, ServiceError
from durable.service.gateway_server import GatewayServer, server_config
from durable.service.lifeline import Lifeline
from durable.service.limits import raise_descriptor_limit
from durable.service.listener import adopt_listener, open_listener


class Command(BaseCommand):
    help = (
        "Run one gateway: it serves HTTP and WebSockets and forwards to the workers. Needs REDIS_URL, or a service "
        "running on the same DATA_DIR. For a whole service on one host use `serve`."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default=settings.HOST, help="address to listen on (default: %(default)s)"
        )
        parser.add_argument(
            "--port", type=port_number, default=settings.PORT, help="port to listen on (default: %(default)s)"
        )
        parser.add_argument("--fd", type=int, help="inherited listening socket, instead of --host and --port")

    def handle(self, *args: Any, **options: Any) -> None:
        raise_descriptor_limit()
        lifeline = Lifeline.inherit()
        try:
            conf = attach_to_redis()
            if options["fd"] is not None:
                listener = adopt_listener(options["fd"])
            else:
                listener = open_listener(options["host"], options["port"])
        except ServiceError as error:
            raise CommandError(str(error), returncode=EXIT_REFUSED) from None
        application = import_string(settings.ASGI_APPLICATION)
        GatewayServer(server_config(application, conf), lifeline, nodes).serve_on(listener)
