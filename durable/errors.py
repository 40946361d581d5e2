"""Every error the runtime raises, one tree.

    DurableError
    ├── ObjectError            what a class raises on purpose; its text may reach an API client
    ├── RemoteError            what a method raised, seen by the caller
    ├── InvalidNameError       a name or an id that no object can have
    ├── NotCallableError       no public method of that name
    ├── ArgumentError          an argument does not fit the method's signature
    ├── ValueRefusedError      a value that cannot travel or rest
    ├── UnknownClassError      no object class has that key
    ├── OverloadedError        a queue or a buffer is full
    ├── UnavailableError       no owner could be reached in time
    ├── ObjectResetError       the instance was discarded while the call waited or ran
    ├── SetAsideError          two workers died in the middle of the event; it is not tried again
    ├── EventTimeoutError      the event ran past its time limit
    ├── MemoryLimitError       the event took more memory than its worker may have
    ├── ReentrantCallError     a chain of calls came back to its own object
    ├── SocketError            a socket was used in a way its state or limits do not allow
    │   ├── SocketNotAcceptedError  it was used before it was accepted
    │   └── TooManySocketsError     the object has all the sockets it may have
    ├── StorageOutsideEventError
    └── StorageError
        ├── DamagedFileError   the object's file is not a whole database any more
        ├── StorageLimitError  a key, a value or the database is too large
        ├── SqlError           SQLite refused the statement
        ├── StatementTimeoutError
        ├── FencedError        another owner has taken the object
        └── LostWriteError     a commit could not be made durable

`delivered` says whether the call ran: "no" (safe to repeat), "yes", or "unknown".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

Delivered = Literal["yes", "no", "unknown"]

MAX_TEXT = 10_000  # characters of an error's text that travel
MAX_FIELDS = 100
MAX_FIELD_BYTES = 64 * 1024


class DurableError(Exception):
    """Base of all errors of the runtime.

    Attributes:
        retryable: the same may succeed later.
        overloaded: slow down before that.
        delivered: whether the call ran.
        travelled: it has come over the link, so that what failed is another object's.
    """

    code: ClassVar[str] = "durable_error"
    travelled: bool = False
    retryable: bool = False
    overloaded: bool = False
    delivered: Delivered = "unknown"

    def __init__(self, message: str = "", *, delivered: Delivered | None = None) -> None:
        super().__init__(message)
        self.message = message
        if delivered is not None:
            self.delivered = delivered

    def __str__(self) -> str:
        return str(self.message)  # which may be a lazy translation, or a number


class ObjectError(DurableError):
    """What an object class raises on purpose; its text and fields may be shown to an API client.

    Subclass it for errors of your own. Raised before the event has written anything, it leaves the instance alive.
    """

    code = "object_error"
    delivered: Delivered = "yes"

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.fields = fields


class RemoteError(DurableError):
    """What a called method raised: class name, message and fields, never a traceback."""

    code = "remote_error"
    delivered: Delivered = "yes"

    def __init__(
        self, error_type: str, message: str, fields: dict[str, Any] | None = None, *, declared: bool = False
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.fields = fields or {}
        self.declared = declared  # raised as an ObjectError: its text was meant for the caller

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}"


class InvalidNameError(DurableError, ValueError):
    """A name or an id that no object can have."""

    code = "invalid_name"
    delivered: Delivered = "no"


class NotCallableError(DurableError, AttributeError):
    """The class has no public method of that name: `hasattr(stub, name)` is False."""

    code = "not_callable"
    delivered: Delivered = "no"


class ArgumentError(DurableError, TypeError):
    """An argument does not fit the method's signature; the message names the parameter."""

    code = "bad_argument"
    delivered: Delivered = "no"


class ValueRefusedError(DurableError, TypeError):
    """A value that cannot travel between processes or rest in storage; the message names its type."""

    code = "value_refused"
    delivered: Delivered = "no"


class UnknownClassError(DurableError, LookupError):
    """No object class has that key; the message lists the ones there are."""

    code = "unknown_class"
    delivered: Delivered = "no"


class OverloadedError(DurableError):
    """A queue or a buffer is full: what was refused never runs. Slow down before you try again."""

    code = "overloaded"
    retryable = True
    overloaded = True
    delivered: Delivered = "no"


class UnavailableError(DurableError):
    """No owner could be reached in time."""

    code = "unavailable"
    retryable = True
    delivered: Delivered = "no"


class ObjectResetError(DurableError):
    """The instance was discarded (aborted, fenced, deleted) while the call waited or ran."""

    code = "object_reset"
    retryable = True


class SetAsideError(DurableError):
    """Two workers died in the middle of this event, which is probably why: it is not tried a third time."""

    code = "set_aside"


class EventTimeoutError(DurableError):
    """The event ran past its time limit, or blocked the loop; it was interrupted and rolled back."""

    code = "event_timeout"
    delivered: Delivered = "no"


class MemoryLimitError(DurableError):
    """The event took more memory than its worker may have; it was interrupted and rolled back."""

    code = "memory_limit"
    delivered: Delivered = "no"


class ReentrantCallError(DurableError):
    """A chain of calls came back to an object that is waiting in it; the message names the cycle."""

    code = "reentrant_call"
    delivered: Delivered = "no"


class SocketError(DurableError):
    """A socket was used in a way its state or its limits do not allow."""

    code = "socket_error"


class SocketNotAcceptedError(SocketError):
    """A socket was used before it was accepted; the message says how to accept it."""

    code = "socket_not_accepted"


class TooManySocketsError(SocketError):
    """The object has all the sockets that its `max_sockets` allows; the others are unharmed."""

    code = "too_many_sockets"


class StorageError(DurableError):
    """Something about an object's storage failed; the event it happened in leaves no trace."""

    code = "storage_error"


class DamagedFileError(StorageError):
    """The object's file is not a whole database any more: it can be deleted, or replaced by a copy."""

    code = "damaged_file"


class StorageOutsideEventError(StorageError):
    """Storage was used outside an event, where nothing would make the use atomic."""

    code = "storage_outside_event"


class StorageLimitError(StorageError, ValueError):
    """A key, a value or the whole database is larger than allowed; nothing was stored."""

    code = "storage_limit"


class SqlError(StorageError):
    """SQLite refused a statement.

    Args:
        message: SQLite's own text.
        sqlite_code: SQLite's extended result code, or 0 where the refusal is ours.
    """

    code = "sql_error"

    def __init__(self, message: str, sqlite_code: int = 0) -> None:
        super().__init__(message)
        self.sqlite_code = sqlite_code


class StatementTimeoutError(SqlError):
    """A statement ran past its time limit and was interrupted."""

    code = "statement_timeout"


class FencedError(StorageError):
    """Another owner has taken the object: nothing of this event was written or released."""

    code = "fenced"
    retryable = True
    delivered: Delivered = "no"


class LostWriteError(StorageError):
    """The disk refused to make a commit durable: whether it survives is unknown."""

    code = "lost_write"
    delivered: Delivered = "unknown"


def _tree(base: type[DurableError]) -> dict[str, type[DurableError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        if child.__module__ == __name__:
            found.update(_tree(child))
    return found


_BY_CODE = _tree(DurableError)

WireError = tuple[str, str, str, dict[str, Any]]
"""(code, message, delivered, details): an error as it travels on the link."""


def error_to_wire(error: BaseException) -> WireError:
    """What a caller may know of `error`: runtime errors as themselves, all others as a RemoteError.

    Whatever a class has put into its error, what comes back can be sent: texts are shortened, and fields that cannot travel
    are replaced by the name of their type.
    """
    if isinstance(error, RemoteError):
        details = {
            "error_type": _text(error.error_type),
            "fields": _fields(error),
            "declared": error.declared,
        }
        return (RemoteError.code, _text(error.message), _delivered(error), details)
    if isinstance(error, ObjectError):
        fields = {"error_type": _text(type(error).__name__), "fields": _fields(error), "declared": True}
        return (RemoteError.code, _text(error), "yes", fields)
    if isinstance(error, DurableError):
        details = {"sqlite_code": error.sqlite_code} if isinstance(error, SqlError) else {}
        return (_text(error.code), _text(error.message), _delivered(error), details)
    return (RemoteError.code, _text(error), "yes", {"error_type": _text(type(error).__name__), "fields": {}})


def _text(value: object) -> str:
    """A text that can travel: of bounded length, and what has no UTF-8 form as an escape."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001 - an error of a class's own may do anything
        text = f"(no text: {type(error).__name__})"
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def _delivered(error: DurableError) -> Delivered:
    return error.delivered if error.delivered in ("yes", "no", "unknown") else "unknown"


def _fields(error: ObjectError | RemoteError) -> dict[str, Any]:
    fields = getattr(error, "fields", None)
    if not isinstance(fields, dict):
        return {}
    return {_text(name): _field(value) for name, value in list(fields.items())[:MAX_FIELDS]}


def _field(value: Any) -> Any:
    try:
        if len(msgspec.msgpack.encode(value)) <= MAX_FIELD_BYTES:
            return value
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    return f"({_text(type(value).__name__)})"


def error_from_wire(wire: WireError) -> DurableError:
    """The error a caller raises for what came over the link."""
    code, message, delivered, details = wire
    error: DurableError
    if code == RemoteError.code:
        error = RemoteError(
            details["error_type"], message, details["fields"], declared=bool(details.get("declared"))
        )
    else:
        error = _BY_CODE.get(code, DurableError)(message)
        error.delivered = delivered  # type: ignore[assignment]
    if isinstance(error, SqlError):
        error.sqlite_code = details.get("sqlite_code", 0)
    error.travelled = True
    return error


def has_travelled(error: BaseException) -> bool:
    """Whether what an event raises is what another object has answered it with."""
    return isinstance(error, DurableError) and error.travelled
