"""The project's application, and the subjects' sockets under /subject/."""

from typing import Any
from urllib.parse import unquote

from project.asgi import application as project

from durable.gateway.sockets import ObjectSocketConsumer, SocketTarget  # isort: skip - the apps must be loaded before

from tests.contract.subject.objects import Subject  # isort: skip

PATH = "/subject/"


class SubjectSockets(ObjectSocketConsumer):
    """A socket of the subject that the path names."""

    frame_rate = (1000, 1000.0)

    async def connect(self, scope: Any) -> SocketTarget:
        return SocketTarget(Subject.namespace.get_by_name(unquote(scope["path"].removeprefix(PATH))))


sockets = SubjectSockets.as_asgi()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket" and scope["path"].startswith(PATH):
        await sockets(scope, receive, send)
    else:
        await project(scope, receive, send)
