"""The edge: HTTP and WebSocket consumers that hold clients and own no object."""

from .mounts import object_urls

__all__ = ["object_urls"]
