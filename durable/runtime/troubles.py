"""What is wrong with single objects, for the operator: told when it is seen, taken back when the object is well again."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from durable.errors import DamagedFileError, DurableError, LostWriteError, StorageError, has_travelled
from durable.identity import ObjectId


class TroubleKind(StrEnum):
    """What may be wrong with an object. The texts are stored."""

    START = "start"
    """Its `start` raises, so that nothing can be asked of it. Over when it has started."""
    DISK = "disk"
    """The disk is full, or failed, in the middle of its event. Over when it has been closed in good order."""
    DAMAGED = "damaged"
    """Its file is not a whole database any more. Over when it has been replaced or deleted."""
    ALARM = "alarm"
    """Its alarm was given up. Over when an alarm of it has succeeded."""
    SET_ASIDE = "set aside"
    """An event of it was in the way when two workers died, and is not tried again. Over when an operator says so."""


class Troubles(Protocol):
    """Keeps what is wrong for the operator, written behind."""

    def seen(self, object_id: ObjectId, kind: TroubleKind, message: str) -> None:
        """This is wrong, again or for the first time; returns at once."""

    def over(self, object_id: ObjectId, *kinds: TroubleKind) -> None:
        """Nothing of these kinds is wrong any more, if it was; returns at once, and costs little."""


class NoTroubles:
    """For processes without an operator."""

    def seen(self, object_id: ObjectId, kind: TroubleKind, message: str) -> None:
        """Nobody asks."""

    def over(self, object_id: ObjectId, *kinds: TroubleKind) -> None:
        """Nobody asks."""


def trouble_of(error: BaseException) -> TroubleKind | None:
    """What an event's error says about its object's storage; None when it is the class's own, or the caller's, affair."""
    if has_travelled(error):  # it is told of the object that it came from
        return None
    if isinstance(error, DamagedFileError):
        return TroubleKind.DAMAGED
    # The classes below StorageError are limits and refusals, but for this one.
    if isinstance(error, LostWriteError) or type(error) is StorageError:
        return TroubleKind.DISK
    return None


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = str(error)
    return text if isinstance(error, DurableError) else f"{type(error).__name__}: {text}"
