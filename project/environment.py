"""Reading of environment variables, with errors that name the variable."""

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    """A yes or no variable: 1/0, true/false, yes/no, on/off in any case."""
    raw = environ.get(name)
    if raw is None:
        return default
    value = raw.strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off; it is {raw!r}")


def integer(
    environ: Mapping[str, str], name: str, *, default: int, minimum: int = 0, maximum: int | None = None
) -> int:
    """A whole number from `minimum` to `maximum`."""
    raw = environ.get(name, "").strip()
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number; it is {raw!r}") from None
    if value < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}; it is {value}")
    if maximum is not None and value > maximum:
        raise ImproperlyConfigured(f"{name} must be at most {maximum}; it is {value}")
    return value


def words(environ: Mapping[str, str], name: str, *, default: list[str]) -> list[str]:
    """A list separated by commas."""
    raw = environ.get(name)
    if raw is None:
        return default
    return [word.strip() for word in raw.split(",") if word.strip()]


def choice(environ: Mapping[str, str], name: str, *, default: str, among: tuple[str, ...]) -> str:
    """One of a few words, written in any case."""
    value = environ.get(name, "").strip() or default
    for word in among:
        if value.lower() == word.lower():
            return word
    raise ImproperlyConfigured(f"{name} must be one of {', '.join(among)}; it is {value!r}")


def directory(environ: Mapping[str, str], name: str, *, default: Path) -> Path:
    """A directory, made (mode 0700) if it is missing; absolute."""
    given = Path(environ.get(name, "").strip() or default)
    try:
        path = given.expanduser().absolute()
    except RuntimeError:
        raise ImproperlyConfigured(f"{name}: there is no home directory as in {str(given)!r}") from None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: cannot create {path}: {error.strerror}") from None
    return path


def database(environ: Mapping[str, str], name: str, *, default: str) -> dj_database_url.DBConfig:
    """Django's settings of the database at an address. Errors do not repeat it: it may have a password in it."""
    try:
        return dj_database_url.parse(environ.get(name, "").strip() or default)
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} must be an address such as sqlite:////path/to/file or postgres://user:password@host/name"
        ) from None


def secret(environ: Mapping[str, str], name: str, *, stored_in: Path) -> str:
    """The variable, or else a random secret made once and kept in `stored_in` with mode 0600.

    Several processes may start at the same time: the file is linked into place complete, and the first wins.
    """
    value = environ.get(name, "").strip()
    if value:
        return value
    try:
        return stored_in.read_text().strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(
            f"cannot read {name} from {stored_in}: {error.strerror} (is it another user's?)"
        ) from None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=stored_in.parent, prefix=f".{stored_in.name}-")
    except OSError as error:
        raise ImproperlyConfigured(f"cannot write {name} into {stored_in.parent}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, stored_in)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink(missing_ok=True)
    return stored_in.read_text().strip()
