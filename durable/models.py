"""What the runtime keeps in Django's database: the catalog of objects and their troubles, API tokens and the audit log."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.db import connections, models
from django.db.models.functions import Coalesce
from django.utils import timezone

from .identity import MAX_NAME_BYTES

_MARK = "dr"
_PREFIX_CHARACTERS = 10
_LAST_USED_PRECISION = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)


def moment(ms: int) -> datetime:
    """Milliseconds since the epoch, as the runtime counts, as a time; the latest there is for what lies beyond."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return _LATEST


class ObjectRecordQuerySet(models.QuerySet["ObjectRecord"]):
    """Searches that stay fast with a million rows: none of them counts or scans."""

    def of_class(self, class_key: str) -> Self:
        """Objects of one class in the order of pages: by name, then by id."""
        return self.filter(class_key=class_key).order_by("name", "object_id")

    def named(self, prefix: str) -> Self:
        """Objects whose name begins with `prefix`, by case."""
        if not prefix:
            return self
        if connections[self.db].vendor != "sqlite":
            return self.filter(name__startswith=prefix)
        # SQLite's LIKE ignores case and uses no index; its text order is that of UTF-8 bytes.
        found = self.filter(name__gte=prefix)
        end = _after_prefix(prefix)
        return found if end is None else found.filter(name__lt=end)

    def after(self, name: str, object_id: str) -> Self:
        """The rows behind this one in the order of `of_class`: the next page."""
        return self.filter(name__gte=name).exclude(name=name, object_id__lte=object_id)


def _after_prefix(prefix: str) -> str | None:
    """The smallest text above every text with this prefix; None if there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[index]) + 1
        if point == 0xD800:  # surrogates are no characters
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[:index] + chr(point)
    return None


class ObjectRecord(models.Model):
    """The catalog: one row for each object that has storage, written behind by workers. A view, never the truth."""

    class_key = models.CharField("class", max_length=200)
    object_id = models.CharField("id", max_length=64)
    # Empty for an object made by `new_unique_id`; the name of an object is never empty.
    name = models.CharField(max_length=MAX_NAME_BYTES, blank=True, default="")
    created_at = models.DateTimeField("created")
    last_active_at = models.DateTimeField("last active")
    storage_bytes = models.BigIntegerField("storage", default=0)
    alarm_at = models.DateTimeField("alarm", null=True, blank=True)

    objects = ObjectRecordQuerySet.as_manager()

    class Meta:
        verbose_name = "object"
        default_permissions = ["view"]
        permissions = [
            ("view_object_contents", "Can look into objects"),
            ("operate_object", "Can call, evict and abort objects"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["class_key", "object_id"], name="durable_object_identity"),
        ]
        indexes = [
            models.Index(fields=["class_key", "name", "object_id"], name="durable_object_name"),
            models.Index(fields=["class_key", "-last_active_at"], name="durable_object_active"),
        ]

    def __str__(self) -> str:
        return f"{self.class_key}({self.name or self.object_id})"


class ObjectTrouble(models.Model):
    """What is wrong with one object, as its workers see it: one row for each kind, gone when it is over."""

    class_key = models.CharField("class", max_length=200)
    object_id = models.CharField("id", max_length=64)
    name = models.CharField(max_length=MAX_NAME_BYTES, blank=True, default="")
    kind = models.CharField(max_length=20)  # a `durable.runtime.troubles.TroubleKind`
    message = models.TextField()
    first_at = models.DateTimeField("first seen")
    last_at = models.DateTimeField("last seen")
    times = models.PositiveIntegerField(default=1)

    class Meta:
        verbose_name = "trouble"
        default_permissions = ["view", "delete"]
        ordering = ["-last_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["class_key", "object_id", "kind"], name="durable_trouble_identity"
            ),
        ]
        indexes = [models.Index(fields=["-last_at"], name="durable_trouble_last")]

    def __str__(self) -> str:
        return f"{self.class_key}({self.name or self.object_id}): {self.kind}"


class BackupStateQuerySet(models.QuerySet["BackupState"]):
    """What changes a state; each is one statement or two, whatever else writes to the row."""

    def note_changed(self, class_key: str, object_ids: Collection[str], at: datetime) -> None:
        """These objects may have written what no copy has."""
        self.bulk_create(
            [self.model(class_key=class_key, object_id=object_id) for object_id in object_ids],
            ignore_conflicts=True,
        )
        self.filter(class_key=class_key, object_id__in=object_ids).update(
            changed_at=Coalesce("changed_at", models.Value(at)), changes=models.F("changes") + 1, gone_at=None
        )

    def of(self, class_key: str, object_id: str) -> "BackupState":
        """The state of one object, made where there is none."""
        return self.get_or_create(class_key=class_key, object_id=object_id)[0]

    def note_gone(self, class_key: str, object_ids: Collection[str], at: datetime) -> None:
        """These objects have no storage any more: their copies, if there are any, stay for the time of retention."""
        self.filter(class_key=class_key, object_id__in=object_ids, copied_at=None, tried_at=None).delete()
        self.filter(class_key=class_key, object_id__in=object_ids, gone_at=None).update(
            changed_at=None, gone_at=at
        )

    def due(self, now: datetime, *, every: timedelta, again: timedelta) -> Self:
        """Objects with a change older than `every`, first ones first.

        What was tried less than `again` ago is being done, or has just failed.
        """
        return self._idle(now, again).filter(changed_at__lte=now - every).order_by("changed_at", "id")

    def expired(self, now: datetime, *, keep: timedelta, again: timedelta) -> Self:
        """Objects that were deleted more than `keep` ago."""
        return self._idle(now, again).filter(gone_at__lte=now - keep).order_by("gone_at", "id")

    def _idle(self, now: datetime, again: timedelta) -> Self:
        return self.filter(models.Q(tried_at=None) | models.Q(tried_at__lte=now - again))


class BackupState(models.Model):
    """What is to be done about the copies of one object; of the copies themselves the storage they are in is the truth."""

    class_key = models.CharField("class", max_length=200)
    object_id = models.CharField("id", max_length=64)
    # When the first change was noted that no copy has; None when the newest copy has everything.
    changed_at = models.DateTimeField("changed", null=True, blank=True)
    # How often a change was noted: tells whether one more was while a copy was made.
    changes = models.BigIntegerField(default=0)
    gone_at = models.DateTimeField("deleted", null=True, blank=True)
    # When somebody last began to do what is due, which is under way unless there is an error.
    tried_at = models.DateTimeField("last tried", null=True, blank=True)
    copied_at = models.DateTimeField("last copied", null=True, blank=True)
    error = models.TextField(blank=True, default="")

    objects = BackupStateQuerySet.as_manager()

    class Meta:
        verbose_name = "backup"
        default_permissions = ["view"]
        constraints = [
            models.UniqueConstraint(fields=["class_key", "object_id"], name="durable_backup_identity"),
        ]
        indexes = [
            models.Index(fields=["changed_at", "id"], name="durable_backup_changed"),
            models.Index(fields=["gone_at"], name="durable_backup_gone"),
        ]

    def __str__(self) -> str:
        return f"{self.class_key}({self.object_id})"

    def claim(self, now: datetime, within: timedelta) -> bool:
        """Be the one who does what is due; False when somebody else is, who began less than `within` ago."""
        if self.tried_at is not None and not self.error and self.tried_at > now - within:
            return False
        row = type(self)._default_manager.filter(pk=self.pk, tried_at=self.tried_at)
        return bool(row.update(tried_at=now, error=""))

    def copied(self, began: datetime, now: datetime) -> None:
        """A copy has every change noted until `began`, when this row was read; a later one waits from then on."""
        row = type(self)._default_manager.filter(pk=self.pk)
        row.filter(changes=self.changes).update(changed_at=None)
        row.exclude(changes=self.changes).update(changed_at=began)
        row.update(copied_at=now, tried_at=None, error="")

    def failed(self, error: str) -> None:
        """It could not be done now; it is tried again later."""
        type(self)._default_manager.filter(pk=self.pk).update(error=error)


class ApiToken(models.Model):
    """A bearer token of the REST API. Only the SHA-256 of its secret is kept; scopes say what it opens.

    The text of a token is `dr_<prefix>_<secret>`: the prefix finds the row, and may be shown. The secret has 256 random
    bits, so a fast hash is enough.
    """

    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=_PREFIX_CHARACTERS, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField("created", auto_now_add=True)
    last_used_at = models.DateTimeField("last used", null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField("revoked", null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API token"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({_MARK}_{self.prefix}_…)"

    @classmethod
    def prepare(cls, name: str, scopes: list[str]) -> tuple[Self, str]:
        """An unsaved token and its text, which exists nowhere else."""
        prefix = secrets.token_hex(_PREFIX_CHARACTERS // 2)
        secret = secrets.token_urlsafe(32)
        token = cls(name=name, prefix=prefix, digest=_digest(secret), scopes=sorted(set(scopes)))
        return token, f"{_MARK}_{prefix}_{secret}"

    @classmethod
    def issue(cls, name: str, scopes: list[str]) -> tuple[Self, str]:
        """Save a new token; returns it and its text, to be shown once."""
        token, text = cls.prepare(name, scopes)
        token.save()
        return token, text

    @classmethod
    def find(cls, text: str) -> "ApiToken | None":
        """The live token with this text, or None for one that is malformed, unknown or revoked."""
        mark, _, rest = text.partition("_")
        prefix, _, secret = rest.partition("_")
        if mark != _MARK or len(prefix) != _PREFIX_CHARACTERS or not secret:
            return None
        token = cls._default_manager.filter(prefix=prefix, revoked_at=None).first()
        if token is None or not hmac.compare_digest(token.digest, _digest(secret)):
            return None
        return token

    def allows(self, scope: str) -> bool:
        """Whether this token opens `scope`."""
        return self.revoked_at is None and scope in self.scopes

    def mark_used(self) -> None:
        """Remember the use, to the minute: a busy token costs one write a minute."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at >= _LAST_USED_PRECISION:
            self.last_used_at = now
            type(self)._default_manager.filter(pk=self.pk).update(last_used_at=now)

    def revoke(self) -> None:
        """Close the token for good. Gateways notice within their cache time of a second."""
        if self.revoked_at is None:
            self.revoked_at = timezone.now()
            self.save(update_fields=["revoked_at"])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class AuditEntry(models.Model):
    """One look at contents or one action: who, what, on which object, when, with which result. Never changed."""

    class Result(models.TextChoices):
        """How it ended."""

        OK = "ok", "done"
        REFUSED = "refused", "refused"
        FAILED = "failed", "failed"

    at = models.DateTimeField("when", auto_now_add=True)
    # Text, because it must outlive the account or token that it names: "user:alice", "token:ci", "shell:root".
    who = models.CharField(max_length=250)
    what = models.CharField(max_length=100)
    class_key = models.CharField("class", max_length=200, blank=True, default="")
    object_id = models.CharField("id", max_length=64, blank=True, default="")
    name = models.CharField(max_length=MAX_NAME_BYTES, blank=True, default="")
    details = models.JSONField(default=dict, blank=True)
    result = models.CharField(max_length=10, choices=Result, default=Result.OK)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["at"], name="durable_audit_at"),
            models.Index(fields=["class_key", "object_id", "-id"], name="durable_audit_object"),
        ]

    def __str__(self) -> str:
        return f"{self.who} {self.what} {self.class_key}".rstrip()

    @classmethod
    def record(
        cls,
        who: str,
        what: str,
        *,
        class_key: str = "",
        object_id: str = "",
        name: str = "",
        result: str = Result.OK,
        **details: Any,
    ) -> "AuditEntry":
        """Add an entry. Call it before what it records, so that nothing is looked at without a trace."""
        return cls._default_manager.create(
            who=who,
            what=what,
            class_key=class_key,
            object_id=object_id,
            name=name,
            result=result,
            details=details,
        )

    def came_to_nothing(self, error: str, result: str = Result.FAILED) -> None:
        """What was entered has failed, or was refused; `error` says why."""
        self.result = result
        self.details = {**self.details, "error": error}
        self.save(update_fields=["result", "details"])

    @classmethod
    async def arecord(
        cls,
        who: str,
        what: str,
        *,
        class_key: str = "",
        object_id: str = "",
        name: str = "",
        result: str = Result.OK,
        **details: Any,
    ) -> "AuditEntry":
        """`record` for async callers."""
        return await cls._default_manager.acreate(
            who=who,
            what=what,
            class_key=class_key,
            object_id=object_id,
            name=name,
            result=result,
            details=details,
        )
