"""The runtime's pages in Django's admin; each module registers its own models."""

from . import audit, tokens

__all__ = ["audit", "tokens"]
