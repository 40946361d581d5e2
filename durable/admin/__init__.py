"""The runtime's pages in Django's admin; each module registers its own models."""

from . import audit, objects, tokens, troubles

__all__ = ["audit", "objects", "tokens", "troubles"]
