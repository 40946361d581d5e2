"""The listening socket that all gateways share, so that a gateway's restart loses no queued connection."""

from __future__ import annotations

import errno
import socket

from .errors import ServiceError

BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """Bind and listen on ``host:port`` (port 0: a free one); an address in use is one clear line."""
    if not 0 <= port <= 65535:  # getaddrinfo takes it modulo 65,536
        raise ServiceError(f"{port} is not a port: choose one from 0 to 65535.")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ServiceError(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    except UnicodeError:
        raise ServiceError(f"Cannot listen on {host}:{port}: this is not the name of a host.") from None
    # A name such as "localhost" may stand for both families: prefer the one its printed address means.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ServiceError(_explain(error, host, port)) from None
    listener.setblocking(False)
    return listener


def adopt_listener(descriptor: int) -> socket.socket:
    """The listening socket inherited as ``descriptor``."""
    try:
        listener = socket.socket(fileno=descriptor)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        raise ServiceError(f"Descriptor {descriptor} is not a socket.") from None
    if not listening:
        listener.detach()
        raise ServiceError(f"Descriptor {descriptor} is not a listening socket.")
    listener.setblocking(False)
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is already in use: stop what listens there, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"No permission to listen on port {port}: choose one above 1023 with --port."
    return f"Cannot listen on {host}:{port}: {error.strerror}."
