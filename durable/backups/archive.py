"""The copies of all objects in one Django storage, which is all that is known of them: a copy's name says what it is.

A copy is `CLASS/AB/ID/TIME-SEQ-SIZE-DIGEST.sqlite3`: when it was made (UTC, to the millisecond), the number of the object's
last commit in it, its bytes, and their BLAKE2b digest of 16 bytes. A file of another size is the trace of somebody who died
while writing it, and is no copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from django.core.files import File
from django.core.files.storage import FileSystemStorage, InvalidStorageError, Storage, storages

from durable.errors import DurableError
from durable.identity import ObjectId, check_key, id_from_string
from durable.storage.durability import sync_directory, sync_file

CHUNK_BYTES = 1024 * 1024
SUFFIX = ".sqlite3"

_NAME = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z-(\d+)-(\d+)-([0-9a-f]{32})\.sqlite3")


class ArchiveError(DurableError):
    """The storage of the copies refuses, or what it has is not what was put there."""

    code = "archive_failed"
    delivered = "no"


class StoredCopy(NamedTuple):
    """One copy of an object.

    Attributes:
        path: its name in the storage.
        at: when it was made.
        seq: the object's last commit in it.
        size: its bytes.
        digest: of its bytes, in hex.
        found: the bytes that the storage has.
    """

    path: str
    at: datetime
    seq: int
    size: int
    digest: str
    found: int

    @property
    def whole(self) -> bool:
        """Whether it was written to the end."""
        return self.found == self.size

    @property
    def label(self) -> str:
        """What an operator types to mean this one: the time, which no other copy of the object has."""
        return self.path.rpartition("/")[2].partition("-")[0]


class Archive:
    """The copies in a storage; only Django's storage interface is used. All methods wait for the storage.

    Args:
        storage: where they are.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def copies(self, object_id: ObjectId) -> list[StoredCopy]:
        """The object's copies, newest first, and what is left of unfinished ones. Raises ArchiveError."""
        folder = _folder(object_id)
        with _answering():
            found = [_parse(folder, name, self._storage) for name in self._list(folder)[1]]
        return sorted((copy for copy in found if copy is not None), key=lambda copy: copy.path, reverse=True)

    def save(self, object_id: ObjectId, source: Path, at: datetime, seq: int, digest: str) -> StoredCopy:
        """Add a copy of the file `source`; when this returns, the storage has all of it. Raises ArchiveError."""
        size = source.stat().st_size
        moment = at.astimezone(UTC)
        stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z"
        path = f"{_folder(object_id)}/{stamp}-{seq}-{size}-{digest}{SUFFIX}"
        with _answering(), source.open("rb") as content:
            saved = self._storage.save(path, File(content))
            if saved != path:  # there is one of that very name
                self._storage.delete(saved)
                raise ArchiveError(f"the storage has a file {path} already")
            if isinstance(self._storage, FileSystemStorage):
                _make_durable(Path(self._storage.path(path)), Path(self._storage.location))
            copy = StoredCopy(path, moment, seq, size, digest, self._storage.size(path))
        if not copy.whole:
            raise ArchiveError(f"the storage has {copy.found} of the {size} bytes of {path}")
        return copy

    def fetch(self, copy: StoredCopy, target: Path) -> None:
        """Write a copy's bytes to a new file. Raises ArchiveError, also when they are not those that were saved."""
        with _answering(), self._storage.open(copy.path) as content, target.open("wb") as file:
            target.chmod(0o600)
            while chunk := content.read(CHUNK_BYTES):
                file.write(chunk)
        if digest_of(target) != copy.digest:
            raise ArchiveError(f"the copy {copy.path} is damaged: its bytes are not those that were saved")

    def remove(self, copies: Iterable[StoredCopy]) -> None:
        """Delete copies. Raises ArchiveError."""
        for copy in copies:
            with _answering():
                self._storage.delete(copy.path)

    def objects(self, class_key: str | None = None) -> Iterator[ObjectId]:
        """All objects that have copies, or those of one class, in the order of class and id. Raises ArchiveError."""
        for key in [class_key] if class_key is not None else self._folders(""):
            for shelf in self._folders(key):
                for text in self._folders(f"{key}/{shelf}"):
                    try:
                        yield id_from_string(check_key(key), text)
                    except DurableError:
                        continue  # something else lies there

    def _folders(self, path: str) -> list[str]:
        with _answering():
            return sorted(self._list(path)[0])

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        try:
            return self._storage.listdir(path)
        except FileNotFoundError:
            return [], []


def open_archive(alias: str) -> Archive:
    """The archive in the storage of that name in Django's STORAGES. Raises ArchiveError where there is none."""
    try:
        return Archive(storages[alias])
    except InvalidStorageError as error:
        raise ArchiveError(f"there is no storage for backups: {error} (settings.STORAGES)") from error


def digest_of(file: Path) -> str:
    """The digest of a file's bytes, as copies have it in their names."""
    digest = blake2b(digest_size=16)
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _folder(object_id: ObjectId) -> str:
    text = str(object_id)
    return f"{object_id.class_key}/{text[:2]}/{text}"


def _parse(folder: str, name: str, storage: Storage) -> StoredCopy | None:
    """What the name of a copy says; None for anything else, and for what has just been deleted."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    moment, ms, seq, size, digest = match.groups()
    at = datetime.strptime(moment, "%Y%m%dT%H%M%S").replace(microsecond=int(ms) * 1000, tzinfo=UTC)
    path = f"{folder}/{name}"
    try:
        return StoredCopy(path, at, int(seq), int(size), digest, storage.size(path))
    except FileNotFoundError:
        return None


def _make_durable(file: Path, root: Path) -> None:
    """A copy must outlive a power cut, as what it is a copy of does; Django only closes files."""
    sync_file(file)
    for folder in file.parents:
        sync_directory(folder)
        if folder == root:
            return


@contextmanager
def _answering() -> Iterator[None]:
    """Storages raise whatever their makers chose."""
    try:
        yield
    except DurableError:
        raise
    except Exception as error:
        raise ArchiveError(f"the storage of the copies: {type(error).__name__}: {error}") from error
