"""The audit log, to read: entries are neither made, changed nor deleted by hand."""

from django.contrib import admin
from django.http import HttpRequest

from durable.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    list_display = ["at", "who", "what", "class_key", "name", "result"]
    # By "at" and not by a date_hierarchy, which cuts every entry's time in Python.
    list_filter = ["at", "result", "what", "class_key"]
    search_fields = ["who", "name", "object_id"]
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
