"""Copies in a storage: what their names say, and what is none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, InMemoryStorage, Storage

from durable.backups import Archive, ArchiveError, StoredCopy, open_archive
from durable.backups.archive import digest_of
from durable.identity import id_from_name

ID = id_from_name("Lab", "lab")
OTHER = id_from_name("Lab", "other")
AT = datetime(2030, 5, 20, 12, 0, 0, 7000, tzinfo=UTC)


@pytest.fixture(params=["memory", "files"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "memory":
        return InMemoryStorage()
    return FileSystemStorage(tmp_path / "backups", directory_permissions_mode=0o700)


@pytest.fixture
def archive(storage: Storage) -> Archive:
    return Archive(storage)


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(b"some bytes" * 1000)
    return path


def save(archive: Archive, content: Path, at: datetime = AT, seq: int = 5) -> StoredCopy:
    return archive.save(ID, content, at, seq, digest_of(content))


def test_a_copy_comes_back_as_it_was_saved(archive: Archive, content: Path, tmp_path: Path) -> None:
    saved = save(archive, content)
    assert (saved.at, saved.seq, saved.size, saved.whole) == (AT, 5, 10_000, True)
    assert saved.label == "20300520T120000.007Z"
    assert archive.copies(ID) == [saved]
    archive.fetch(saved, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == content.read_bytes()


def test_copies_are_listed_newest_first_and_each_with_its_object(archive: Archive, content: Path) -> None:
    saved = [save(archive, content, AT + timedelta(hours=hour)) for hour in (1, 3, 2)]
    assert archive.copies(ID) == [saved[1], saved[2], saved[0]]
    assert archive.copies(OTHER) == []
    assert list(archive.objects()) == list(archive.objects("Lab")) == [ID]
    assert list(archive.objects("Counter")) == []


def test_removed_copies_are_gone(archive: Archive, content: Path) -> None:
    first, second = save(archive, content), save(archive, content, AT + timedelta(hours=1))
    archive.remove([first])
    assert archive.copies(ID) == [second]


def test_a_copy_is_never_replaced(archive: Archive, content: Path) -> None:
    saved = save(archive, content)
    with pytest.raises(ArchiveError, match="already"):
        save(archive, content)
    assert archive.copies(ID) == [saved]


def test_a_file_that_was_not_written_to_the_end_is_no_whole_copy(
    archive: Archive, storage: Storage, content: Path
) -> None:
    saved = save(archive, content)
    storage.delete(saved.path)
    storage.save(saved.path, ContentFile(content.read_bytes()[:-1]))
    (found,) = archive.copies(ID)
    assert (found.whole, found.found) == (False, 9_999)


def test_other_bytes_than_were_saved_are_noticed(
    archive: Archive, storage: Storage, content: Path, tmp_path: Path
) -> None:
    saved = save(archive, content)
    storage.delete(saved.path)
    storage.save(saved.path, ContentFile(b"S" + content.read_bytes()[1:]))
    assert archive.copies(ID)[0].whole
    with pytest.raises(ArchiveError, match="damaged"):
        archive.fetch(saved, tmp_path / "fetched")


def test_what_else_lies_in_the_storage_is_no_copy(archive: Archive, storage: Storage, content: Path) -> None:
    saved = save(archive, content)
    storage.save(f"{saved.path}.part", ContentFile(b"x"))
    storage.save("Lab/zz/notes/readme", ContentFile(b"x"))
    storage.save("lost+found/x", ContentFile(b"x"))
    assert archive.copies(ID) == [saved]
    assert list(archive.objects()) == [ID]


class Stubborn(InMemoryStorage):
    """A storage that fails in its own way, and one that loses what it is given."""

    def __init__(self, *, loses: bool) -> None:
        super().__init__()
        self._loses = loses

    def _save(self, name: str, content: Any) -> str:
        if not self._loses:
            raise RuntimeError("no bucket")
        return str(super()._save(name, ContentFile(b"")))


def test_a_storage_that_refuses_is_a_clear_error(content: Path) -> None:
    with pytest.raises(ArchiveError, match="RuntimeError: no bucket"):
        save(Archive(Stubborn(loses=False)), content)


def test_a_storage_that_loses_bytes_is_noticed_at_once(content: Path) -> None:
    with pytest.raises(ArchiveError, match="0 of the 10000 bytes"):
        save(Archive(Stubborn(loses=True)), content)


def test_an_unknown_storage_is_named() -> None:
    with pytest.raises(ArchiveError, match="nowhere"):
        open_archive("nowhere")


def test_nobody_else_may_read_the_copies(content: Path, tmp_path: Path) -> None:
    from django.conf import settings

    options = settings.STORAGES["durable_backups"]["OPTIONS"]
    folder = tmp_path / "b"
    saved = save(Archive(FileSystemStorage(**{**options, "location": folder})), content)
    assert (folder / saved.path).stat().st_mode & 0o777 == 0o600
    for part in (folder / saved.path).parents:
        assert part.stat().st_mode & 0o777 == 0o700
        if part == folder:
            break
