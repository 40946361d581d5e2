"""What an operator types to mean an object: its class's key, and its name or its id."""

from __future__ import annotations

from typing import Any

from durable.errors import InvalidNameError, UnknownClassError
from durable.identity import ObjectId, id_from_name, id_from_string
from durable.runtime.registry import registry


def class_keys() -> list[str]:
    """The keys of all classes that have code here."""
    return [key for key, _ in registry]


def find_class(key: str) -> Any:
    """The object class of that key; raises UnknownClassError, which lists the ones there are."""
    keys = class_keys()
    if key not in keys:
        raise UnknownClassError(f"there is no object class {key!r}; there are {', '.join(keys) or 'none'}")
    return registry.get(key)


def find_object(key: str, name_or_id: str) -> ObjectId:
    """The id of an object by name, or as 64 hex digits where they are an id of this class. Contacts and creates nothing.

    Raises:
        UnknownClassError: no class has that key.
        InvalidNameError: no object can have that name.
    """
    find_class(key)
    try:
        return id_from_string(key, name_or_id)
    except InvalidNameError:
        return id_from_name(key, name_or_id)
