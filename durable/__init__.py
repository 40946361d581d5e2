"""Durable objects for Django: small stateful servers with a name, one live instance each, and a private database."""

from durable.errors import DurableError, ObjectError, OverloadedError, RemoteError
from durable.identity import ObjectId
from durable.runtime.context import AlarmInfo, Context
from durable.runtime.namespace import Namespace
from durable.runtime.objects import DurableObject, concurrent
from durable.runtime.requests import Request, Response
from durable.runtime.sockets import WebSocket

__all__ = [
    "AlarmInfo",
    "Context",
    "DurableError",
    "DurableObject",
    "Namespace",
    "ObjectError",
    "ObjectId",
    "OverloadedError",
    "RemoteError",
    "Request",
    "Response",
    "WebSocket",
    "concurrent",
]
