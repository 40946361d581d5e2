"""The socket of a subject, and the address of a relay."""

from typing import Any

from durable.gateway.http import HttpConsumer, Request, Response, json_response
from durable.gateway.sockets import ObjectSocketConsumer, SocketTarget

from .objects import Hasty, Relay


class SubjectSocket(ObjectSocketConsumer):
    """Anybody may connect."""

    async def connect(self, scope: Any) -> SocketTarget:
        """The subject that the path names."""
        return SocketTarget(Hasty.namespace.get_by_name(scope["url_route"]["kwargs"]["name"]))


class RelayConsumer(HttpConsumer):
    """Anybody may have a relay ask the counter of its own name."""

    async def post(self, request: Request) -> Response:
        """The counter's new value."""
        name = request.kwargs["name"]
        return json_response({"name": name, "value": await Relay.namespace.get_by_name(name).increment(name)})
