"""Which object classes there are, by key."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from durable.errors import UnknownClassError
from durable.identity import check_key

if TYPE_CHECKING:
    from .objects import DurableObject


class Registry:
    """Object classes by key, filled as the classes are defined."""

    def __init__(self) -> None:
        self._classes: dict[str, type[DurableObject]] = {}
        self.duplicates: list[tuple[str, type[DurableObject], type[DurableObject]]] = []

    def add(self, kind: type[DurableObject]) -> None:
        """Register a class under its key. Two classes of one key are kept for the system check to report."""
        key = check_key(kind.key)
        known = self._classes.get(key)
        if known is not None and (known.__module__, known.__qualname__) != (
            kind.__module__,
            kind.__qualname__,
        ):
            self.duplicates.append((key, known, kind))
        self._classes[key] = kind

    def get(self, key: str) -> type[DurableObject]:
        """The class of that key; raises UnknownClassError."""
        try:
            return self._classes[key]
        except KeyError:
            known = ", ".join(sorted(self._classes)) or "none"
            near = difflib.get_close_matches(key, self._classes, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownClassError(
                f"there is no object class {key!r} (known: {known}){meant or '.'} Is its app in INSTALLED_APPS, and the "
                "class in the app's objects.py?"
            ) from None

    def replacing(self, *classes: type[DurableObject]) -> Registry:
        """The same classes, but for those of the same keys as `classes`, which take their place."""
        other = Registry()
        other._classes = self._classes | {kind.key: kind for kind in classes}
        return other

    def versions(self) -> dict[str, int]:
        """How many migrations each class has, by key."""
        return {key: len(kind.migrations) for key, kind in self._classes.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._classes

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(sorted(self._classes.items()))


registry: Registry = Registry()
