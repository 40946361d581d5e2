"""The socket of a subject."""

from typing import Any

from durable.gateway.sockets import ObjectSocketConsumer, SocketTarget

from .objects import Hasty


class SubjectSocket(ObjectSocketConsumer):
    """Anybody may connect."""

    async def connect(self, scope: Any) -> SocketTarget:
        """The subject that the path names."""
        return SocketTarget(Hasty.namespace.get_by_name(scope["url_route"]["kwargs"]["name"]))
