"""What is wrong with objects: to read, and to dismiss when it has been dealt with."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable.inspector import class_keys
from durable.models import AuditEntry, ObjectTrouble

from .tokens import who

BATCH_ROWS = 500


@admin.register(ObjectTrouble)
class ObjectTroubleAdmin(admin.ModelAdmin):
    list_display = ["shown_name", "kind", "message", "last_at", "times", "class_key"]
    list_display_links = None
    list_filter = ["kind", "class_key"]
    search_fields = ["name", "object_id", "message"]
    actions = ["delete_selected"]
    show_full_result_count = False
    list_per_page = 50

    class Media:
        css = {"all": ["durable/inspector.css"]}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": "Troubles", **(extra_context or {})})

    @admin.display(description="object", ordering="name")
    def shown_name(self, trouble: ObjectTrouble) -> str | SafeString:
        """Its name, leading to its page where its class has code."""
        name = trouble.name or f"{trouble.object_id[:12]}…"
        if trouble.class_key not in class_keys():
            return name
        page = reverse("admin:durable_objectrecord_object", args=[trouble.class_key, trouble.object_id])
        return format_html('<a href="{}">{}</a>', page, name)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ObjectTrouble | None = None) -> bool:
        return False

    @admin.action(description="Dismiss selected %(verbose_name_plural)s", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[ObjectTrouble]) -> None:
        """In place of Django's, which asks again with a field for each row, and takes a thousand fields at most."""
        rows, last, count = queryset.order_by("pk"), 0, 0
        while batch := list(rows.filter(pk__gt=last)[:BATCH_ROWS]):
            with transaction.atomic():
                AuditEntry.objects.bulk_create(_dismissal(request, trouble) for trouble in batch)
                ObjectTrouble.objects.filter(pk__in=[trouble.pk for trouble in batch]).delete()
            last, count = batch[-1].pk, count + len(batch)
        self.message_user(request, f"Dismissed: {count}.", messages.SUCCESS)

    def delete_model(self, request: HttpRequest, obj: ObjectTrouble) -> None:
        _dismissal(request, obj).save()
        super().delete_model(request, obj)


def _dismissal(request: HttpRequest, trouble: ObjectTrouble) -> AuditEntry:
    """What the audit log says of it."""
    return AuditEntry(
        who=who(request),
        what="trouble.dismiss",
        class_key=trouble.class_key,
        object_id=trouble.object_id,
        name=trouble.name,
        details={"kind": trouble.kind},
    )
