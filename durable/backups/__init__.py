"""Backups of objects: consistent copies in a Django storage, made on a schedule, kept for a while, checked, restored."""

from .archive import Archive, ArchiveError, StoredCopy, open_archive
from .backups import Backups, Checked, Made, NoCopyError
from .keeper import BackupKeeper

__all__ = [
    "Archive",
    "ArchiveError",
    "BackupKeeper",
    "Backups",
    "Checked",
    "Made",
    "NoCopyError",
    "StoredCopy",
    "open_archive",
]
