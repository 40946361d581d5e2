"""What is wrong with objects: to read, and to dismiss when it has been dealt with."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable.inspector import class_keys
from durable.models import AuditEntry, ObjectTrouble

from .tokens import who


@admin.register(ObjectTrouble)
class ObjectTroubleAdmin(admin.ModelAdmin):
    list_display = ["shown_name", "kind", "message", "last_at", "times", "class_key"]
    list_display_links = None
    list_filter = ["kind", "class_key"]
    search_fields = ["name", "object_id", "message"]
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

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        found = actions.get("delete_selected")
        if found is not None:
            actions["delete_selected"] = (found[0], found[1], "Dismiss selected %(verbose_name_plural)s")
        return actions

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ObjectTrouble]) -> None:
        for trouble in queryset:
            self.delete_model(request, trouble)

    def delete_model(self, request: HttpRequest, obj: ObjectTrouble) -> None:
        AuditEntry.record(
            who(request),
            "trouble.dismiss",
            class_key=obj.class_key,
            object_id=obj.object_id,
            name=obj.name,
            kind=obj.kind,
        )
        super().delete_model(request, obj)
